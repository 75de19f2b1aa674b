"""A thousand webhooks at once, half of them duplicates, while the API server is killed and restarted."""

from __future__ import annotations

import pytest

from tests.webhook_receiver.server import SECRET, count_rows, runs, wait_for, webhook_url

pytestmark = pytest.mark.standalone

FILES, SENDERS = 500, 16


@pytest.mark.parametrize("server", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("conn_id", "table", "key"),
    [("kaleidoscope_default", "dag_run", "run_id"), ("by_asset", "asset_event", "partition_key")],
)
def test_each_event_starts_one_run_despite_a_crash(server, sandbox, conn_id, table, key):
    """Senders retry until they get a 2xx: then each event has exactly one run."""
    sandbox.settings(
        webhook_url=webhook_url(server, conn_id),
        webhook_secret=SECRET,
        webhook_duplicates=1,
        webhook_retries=1000,
        webhook_retry_delay=0.05,
    )
    files = sandbox.burst(FILES, SENDERS)
    wait_for(lambda: count_rows(server, table) >= FILES // 3, 60)
    server.kill()
    before_crash = count_rows(server, table)
    server.start()
    wait_for(lambda: all(each["finished"] for each in deliveries(sandbox)), 90)
    sent = deliveries(sandbox)
    assert all(each["delivered"] for each in sent)
    assert FILES // 3 <= before_crash < FILES, "the crash was not in the middle"
    assert len(sent) == 2 * FILES
    assert sum(each["attempts"] for each in sent) > len(sent), "no delivery hit the crashed server"
    assert count_rows(server, table) == FILES
    [(distinct,)] = server.rows(f"SELECT count(DISTINCT {key}) FROM {table}")
    assert distinct == FILES
    if table == "dag_run":
        assert {conf["file_id"] for _, _, conf in runs(server)} == set(files)
    else:
        assert count_rows(server, "asset_partition_dag_run") == FILES


def deliveries(sandbox):
    """All webhooks with their results."""
    return sandbox.state(records=False)["kaleidoscope"]["webhooks"]
