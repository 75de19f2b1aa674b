"""A thousand webhooks at once, half of them for the second time, while the API server dies and comes back."""

from __future__ import annotations

import pytest

from tests.receiving.server import SECRET, runs, table_rows, wait

pytestmark = pytest.mark.standalone

FILES, SENDERS = 500, 16


@pytest.mark.parametrize("server", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("conn_id", "table", "key"),
    [("kaleidoscope_default", "dag_run", "run_id"), ("by_asset", "asset_event", "partition_key")],
)
def test_each_event_starts_one_run_whatever_dies(server, sandbox, conn_id, table, key):
    """Senders go on until they are answered 2xx: then every event has its run, and none has two."""
    sandbox.settings(
        webhook_url=f"{server.url}/sluice/webhooks/kaleidoscope/{conn_id}",
        webhook_secret=SECRET,
        webhook_signing="hmac",
        webhook_duplicates=1,
        webhook_retries=1000,
        webhook_retry_delay=0.05,
    )
    files = sandbox.burst(FILES, SENDERS)
    wait(lambda: table_rows(server, table) >= FILES // 3, 60)
    server.kill()
    at_death = table_rows(server, table)
    server.start()
    wait(lambda: all(each["finished"] for each in deliveries(sandbox)), 90)
    told = deliveries(sandbox)
    assert all(each["delivered"] for each in told)
    assert FILES // 3 <= at_death < FILES, "it died in the middle"
    assert len(told) == 2 * FILES
    assert sum(each["attempts"] for each in told) > len(told), "somebody has met nobody"
    assert table_rows(server, table) == FILES
    [(different,)] = server.rows(f"SELECT count(DISTINCT {key}) FROM {table}")
    assert different == FILES
    if table == "dag_run":
        assert {conf["file_id"] for _, _, conf in runs(server)} == set(files)
    else:
        assert table_rows(server, "asset_partition_dag_run") == FILES


def deliveries(sandbox):
    """All webhooks and what became of them."""
    return sandbox.state(records=False)["kaleidoscope"]["webhooks"]
