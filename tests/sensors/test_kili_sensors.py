"""Kili's sensors: in the worker, rescheduled, and deferred."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sensors.kili import (
    KiliCloudStorageConnectionSensor,
    KiliCloudStorageDifferenceSensor,
    KiliCloudStorageIntegrationSensor,
)

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize(
    "way", [{}, {"mode": "reschedule"}, {"deferrable": True}], ids=["poke", "reschedule", "deferrable"]
)


@pytest.fixture
def sensor(airflow, kili):
    """A sensor of a class, polling every ten seconds, for up to an hour."""

    def make_task(kind, **args):
        times = {"poke_interval": 10, "timeout": 3600}
        return airflow.task(kind, task_id="wait", **{**times, **args})

    return make_task


@WAYS
def test_an_integration_that_is_connected(sensor, kili, way):
    """At once."""
    task = sensor(KiliCloudStorageIntegrationSensor, cloud_storage_integration_id=kili.integration, **way).run()
    assert (task.state, task.result["state"]) == ("success", "succeeded")


@pytest.mark.parametrize("way", [{"mode": "reschedule"}, {"deferrable": True}], ids=["reschedule", "deferrable"])
def test_an_integration_that_comes_later(sensor, kili, clock, way):
    """Until it has the status."""
    kili.settings(integration_status="CHECKING")
    task = sensor(KiliCloudStorageIntegrationSensor, cloud_storage_integration_id=kili.integration, **way).worker_run()
    assert task.state in ("deferred", "up_for_reschedule")
    kili.settings(integration_status="")
    task.fire() if task.state == "deferred" else clock.move(60)
    assert task.worker_run().state == "success"


def test_an_integration_that_comes_while_poking(sensor, kili, clock):
    """Within one worker run."""
    kili.settings(integration_status="DISCONNECTED")
    clock.on_sleep = lambda *_: kili.settings(integration_status="" if len(clock.sleeps) > 3 else "DISCONNECTED")
    task = sensor(KiliCloudStorageIntegrationSensor, cloud_storage_integration_id=kili.integration).run()
    assert (task.state, len(clock.sleeps)) == ("success", 4)


@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
def test_an_unknown_integration_fails(sensor, kili, deferrable):
    """Two minutes, as it may be that new."""
    unknown = {"cloud_storage_integration_id": "nobody"}
    task = sensor(KiliCloudStorageIntegrationSensor, deferrable=deferrable, **unknown).run()
    assert task.state == "failed"
    assert "'nobody'" in str(task.error)


@WAYS
def test_a_connection_that_is_idle_again(sensor, kili, clock, sluice_connections, way):
    """It neither computes nor applies differences."""
    from sluice_provider.hooks.kili import KiliHook

    kili.settings(job_seconds=300)
    KiliHook().compute_differences(kili.me)
    task = sensor(KiliCloudStorageConnectionSensor, cloud_storage_connection_id=kili.me, **way).worker_run()
    while task.state in ("deferred", "up_for_reschedule"):
        task.fire() if task.state == "deferred" else clock.move(60)
        task.worker_run()
    assert task.state == "success"
    assert sum(clock.sleeps) >= 280 or way.get("mode") == "reschedule"
    assert task.result["to_add"] == 3
    assert task.xcom("_link_KiliLink").endswith(f"/label/projects/{kili.project}/")


@WAYS
def test_a_difference_that_is_there(sensor, kili, way):
    """It is computed, and nothing is added."""
    task = sensor(KiliCloudStorageDifferenceSensor, cloud_storage_connection_id=kili.me, **way).worker_run()
    while task.state in ("deferred", "up_for_reschedule"):
        task.fire() if task.state == "deferred" else kili.settings(clock_advance=20)
        task.worker_run()
    assert (task.state, task.result["to_add"]) == ("success", 3)
    assert kili.assets == []
    assert set(kili.operations) == {"CHECK"}


@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
def test_a_difference_that_comes_later(sensor, kili, clock, deferrable):
    """A minimum of five: two files arrive while it waits."""
    clock.on_sleep = lambda *_: kili.put("a.png", "b.png") if len(clock.sleeps) == 5 else None
    task = sensor(
        KiliCloudStorageDifferenceSensor, cloud_storage_connection_id=kili.me, minimum=5, deferrable=deferrable
    ).run()
    assert (task.state, task.result["to_add"]) == ("success", 5)
    assert len(clock.sleeps) >= 5


def test_comparisons_are_not_requested_while_one_runs(sensor, kili, clock):
    """Each status check compares the whole bucket: `poll_interval` is how often at the most, also at first."""
    clock.on_sleep = lambda *_: kili.put("a.png", "b.png") if len(clock.sleeps) == 3 else None
    args = {"cloud_storage_connection_id": kili.me, "minimum": 5, "deferrable": True, "poll_interval": 50}
    assert sensor(KiliCloudStorageDifferenceSensor, **args).run().state == "success"
    assert min(clock.sleeps[:3]) >= 45  # jitter


def test_an_old_difference_does_not_count(sensor, kili, clock, sluice_connections):
    """What was computed before the wait, and is gone since, is not new."""
    from sluice_provider.hooks.kili import KiliHook

    kili.settings(job_seconds=0)
    KiliHook().compute_differences(kili.me)
    assert KiliHook().get_cloud_storage_connection_status(kili.me).to_add == 3
    kili.empty()
    task = sensor(KiliCloudStorageDifferenceSensor, cloud_storage_connection_id=kili.me, timeout=300).run()
    assert (task.state, type(task.error).__name__) == ("failed", "AirflowSensorTimeout")


@pytest.mark.parametrize("way", [{"mode": "reschedule"}, {"mode": "poke"}], ids=str)
def test_without_a_task_state_store_nothing_is_rescheduled(sluice_connections, kili, clock, way):
    """Airflow 3.1 and 3.2 delete at each reschedule what was known before the wait, so it would never end."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    sensor = KiliCloudStorageDifferenceSensor(task_id="wait", cloud_storage_connection_id=kili.me, **way)
    nothing = {name: lambda **_: None for name in ("xcom_push", "xcom_pull")}
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="wait", map_index=-1, max_tries=0, try_number=1, **nothing)
    context = {"ti": ti, "dag_run": SimpleNamespace(clear_number=0)}
    if way["mode"] == "poke":
        assert sensor.execute(context)["to_add"] == 3
        return
    with pytest.raises(AirflowFailException, match="deferrable=True or mode='poke'") as refused:
        sensor.execute(context)
    assert isinstance(refused.value.__cause__, InvalidInput)
    assert kili.requests() == []


def test_a_refused_or_lost_computation_is_no_end(sensor, kili):
    """While another user computes differences, Kili may reject the request, and a response may be lost."""
    kili.settings(job_seconds=30, busy_flag_delay=15, reject_concurrent_checks=True)
    kili.inject_fault(drop="after", skip=4, times=1)
    task = sensor(KiliCloudStorageDifferenceSensor, cloud_storage_connection_id=kili.me, deferrable=True).run()
    assert (task.state, task.result["to_add"]) == ("success", 3)


@pytest.mark.parametrize(
    ("kind", "args", "word"),
    [
        (KiliCloudStorageIntegrationSensor, {"cloud_storage_integration_id": ""}, "cloud_storage_integration_id"),
        (KiliCloudStorageIntegrationSensor, {"cloud_storage_integration_id": "c", "status": "UP"}, "status"),
        (KiliCloudStorageConnectionSensor, {"cloud_storage_connection_id": "None"}, "cloud_storage_connection_id"),
        (KiliCloudStorageDifferenceSensor, {"cloud_storage_connection_id": "c", "minimum": 0}, "minimum"),
        (KiliCloudStorageDifferenceSensor, {"cloud_storage_connection_id": "c", "minimum": "many"}, "minimum"),
    ],
    ids=str,
)
def test_bad_arguments(sensor, kili, kind, args, word):
    """Named before anything is sent."""
    task = sensor(kind, **args).run()
    assert task.state == "failed"
    assert isinstance(task.error.__cause__, InvalidInput)
    assert word in str(task.error)
    assert kili.requests() == []
