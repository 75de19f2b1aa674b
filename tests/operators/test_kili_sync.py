"""Synchronising a project with its bucket: phases, dry runs, limits, and the result."""

from __future__ import annotations

import pytest

from sluice_provider.errors import InvalidInput, NotFound, SafetyLimitExceeded
from sluice_provider.links import KiliLink
from sluice_provider.plugin import SluicePlugin
from tests.operators.kili_fixtures import PICTURES

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


@WAYS
def test_new_files_are_added(sync, kili, deferrable):
    """All files of the bucket become assets, each once, and the result says so."""
    task = sync(deferrable=deferrable).run()
    assert task.state == "success", task.error
    assert kili.assets == PICTURES
    assert kili.mutations == ["computeDifferences", "validateDataDifferences"]
    result = task.result
    assert {name: result[name] for name in ("added", "removed", "left", "to_add", "to_remove", "total")} == {
        "added": 3, "removed": 0, "left": 0, "to_add": 3, "to_remove": 0, "total": 3,
    }  # fmt: skip
    assert (result["assets_before"], result["assets_after"], result["dry_run"]) == (0, 3, False)
    assert (result["connection_id"], result["project_id"], result["state"]) == (kili.me, kili.project, "succeeded")


@WAYS
def test_no_new_files_means_no_additions(sync, kili, deferrable):
    """A second synchronisation computes, and applies nothing."""
    sync(deferrable=deferrable).run()
    task = sync(deferrable=deferrable).run()
    assert task.state == "success"
    assert kili.operations == ["CHECK", "ADD", "CHECK"]
    assert (task.result["added"], task.result["total"], task.result["assets_after"]) == (0, 0, 3)


@WAYS
def test_deleted_files_are_removed_only_on_request(sync, kili, deferrable):
    """Deleted files stay as assets and are counted as left, unless deletion is requested."""
    sync().run()
    (kili.bucket / "cats" / "one.png").unlink()
    kili.put("cats/three.png")
    task = sync(deferrable=deferrable).run()
    assert kili.assets == ["cats/one.png", "cats/three.png", "cats/two.png", "dogs/one.png"]
    assert (task.result["added"], task.result["removed"], task.result["left"]) == (1, 0, 1)
    task = sync(deferrable=deferrable, delete_extraneous_files=True).run()
    assert kili.assets == ["cats/three.png", "cats/two.png", "dogs/one.png"]
    assert (task.result["added"], task.result["removed"], task.result["left"]) == (0, 1, 0)
    assert (task.result["assets_before"], task.result["assets_after"]) == (4, 3)


def test_adding_comes_before_removing(sync, kili):
    """In one task, one after the other, each waited for."""
    sync().run()
    kili.empty()
    kili.put("new.png")
    task = sync(delete_extraneous_files=True, deferrable=True).run()
    assert kili.operations[-3:] == ["CHECK", "ADD", "REMOVE"]
    assert (kili.assets, task.result["added"], task.result["removed"]) == (["new.png"], 1, 3)


@WAYS
def test_a_dry_run_changes_nothing(sync, kili, deferrable):
    """The result lists the differences."""
    task = sync(dry_run=True, delete_extraneous_files=True, deferrable=deferrable).run()
    assert task.state == "success"
    assert (kili.assets, kili.operations) == ([], ["CHECK"])
    result = task.result
    assert (result["dry_run"], result["to_add"], result["added"], result["left"]) == (True, 3, 0, 3)


def test_verify(sync, kili):
    """`verify` computes once more; what came in meanwhile is left for the next time, not chased."""
    task = sync(verify=True, deferrable=True)
    task.defer()
    while kili.operations[-1] != "ADD":
        task.fire().worker_run()
    kili.put("late.png")
    task.fire().worker_run()
    task.fire().worker_run() if task.state == "deferred" else None
    assert task.state == "success"
    assert kili.operations == ["CHECK", "ADD", "CHECK"]
    assert (task.result["added"], task.result["left"], kili.assets) == (3, 1, PICTURES)


# --- limits


@pytest.mark.parametrize("limit", [0, 2, 0.5], ids=str)
def test_a_limit_protects_the_project(sync, kili, limit):
    """An emptied bucket would wipe the project: nothing is changed, no retry, and the numbers are named."""
    sync().run()
    kili.empty()
    kili.put("new.png")
    task = sync(delete_extraneous_files=True, max_removed=limit).run()
    assert (task.state, type(task.error)) == ("failed", SafetyLimitExceeded)
    assert f"3 of 3 assets would be removed, and max_removed is {limit!r}" in str(task.error)
    assert kili.assets == PICTURES
    assert kili.operations[-1] == "CHECK"


@pytest.mark.parametrize("limit", [1, 0.34], ids=str)
def test_within_the_limit_is_removed(sync, kili, limit):
    """One of three is a third."""
    sync().run()
    (kili.bucket / "dogs" / "one.png").unlink()
    task = sync(delete_extraneous_files=True, max_removed=limit).run()
    assert (task.state, task.result["removed"], len(kili.assets)) == ("success", 1, 2)


def test_the_limit_counts_again_right_before_removing(sync, kili, clock):
    """Another user empties the bucket and computes differences while files are being added."""
    sync().run()
    (kili.bucket / "dogs" / "one.png").unlink()
    kili.put("new.png")
    task = sync(delete_extraneous_files=True, max_removed=1, deferrable=True).defer()
    while kili.operations[-1] != "ADD":
        task.fire().worker_run()
    clock.move(10)
    kili.empty()
    task.operator.hook.compute_differences(kili.me)
    task.run() if task.state != "deferred" else task.fire().worker_run()
    assert isinstance(task.error, SafetyLimitExceeded)
    assert "REMOVE" not in kili.operations


def test_a_dry_run_over_the_limit_warns(sync, kili):
    """It only reads."""
    sync().run()
    kili.empty()
    task = sync(delete_extraneous_files=True, max_removed=1, dry_run=True).run()
    assert (task.state, task.result["to_remove"]) == ("success", 3)
    assert task.logged("WARNING", "3 of 3 assets would be removed", "without dry_run this task would fail")


def test_a_changed_limit_counts_after_clearing(sync, kili):
    """The author raises the limit and clears the task."""
    sync().run()
    kili.empty()
    task = sync(delete_extraneous_files=True, max_removed=1).run()
    task.args["max_removed"] = 3
    task.clear().run()
    assert (task.state, kili.assets) == ("success", [])


# --- which connection


def test_by_project_and_integration(sync, kili):
    """Where there is one connection of the pair, the pair names it."""
    task = sync(project_id=kili.project, cloud_storage_integration_id=kili.integration).run()
    assert (task.state, task.result["connection_id"]) == ("success", kili.me)


def test_project_and_integration_with_two_connections(sync, add, kili):
    """The error names both."""
    second = add().run().result["connection_id"]
    task = sync(project_id=kili.project, cloud_storage_integration_id=kili.integration).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert kili.me in str(task.error)
    assert second in str(task.error)


@pytest.mark.parametrize(
    "args",
    [{"cloud_storage_connection_id": "nobody"}, {"project_id": "nobody", "cloud_storage_integration_id": "nobody"}],
    ids=["connection", "pair"],
)
def test_an_unknown_connection_fails_immediately(sync, kili, args):
    """No retry, and no request to Kili."""
    task = sync(**args).run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
    assert "nobody" in str(task.error)
    assert kili.mutations == []


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"cloud_storage_connection_id": ""}, "cloud_storage_connection_id"),
        ({"cloud_storage_connection_id": "None"}, "cloud_storage_connection_id"),
        ({"cloud_storage_connection_id": "c1", "project_id": "p"}, "cannot be combined"),
        ({"project_id": "p"}, "cloud_storage_integration_id"),
        ({"max_removed": -1}, "max_removed"),
        ({"max_removed": True}, "max_removed"),
        ({"max_removed": "all"}, "max_removed"),
        ({"max_removed": 1.5}, "max_removed"),
    ],
    ids=str,
)
def test_invalid_arguments_are_rejected_before_anything_is_sent(sync, kili, args, word):
    """Each names what is wrong, and is not retried."""
    task = sync(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert word in str(task.error)
    assert kili.requests() == []


def test_a_clear_compares_a_restored_bucket_again(sync, kili):
    """Not judged by the differences that were computed while it was empty."""
    sync().run()
    files = {name: (kili.bucket / name).read_bytes() for name in PICTURES}
    kili.empty()
    task = sync(delete_extraneous_files=True, max_removed=1).run()
    assert isinstance(task.error, SafetyLimitExceeded)
    for name, content in files.items():
        (kili.bucket / name).write_bytes(content)
    task.clear().run()
    assert (task.state, kili.assets, task.result["to_remove"]) == ("success", PICTURES, 0)


@WAYS
@pytest.mark.parametrize("nth", [1, 2], ids=["found", "computed"])
def test_a_clear_between_two_phases_continues(sync, kili, deferrable, nth):
    """Nothing is done twice."""
    task = sync(deferrable=deferrable)
    with task.death("end written", nth=nth):
        task.run()
    task.clear().run()
    assert (task.state, kili.operations, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)


def test_a_clear_while_files_are_being_added_continues(sync, kili):
    """Kili cannot be stopped, so this is what the user gets."""
    kili.settings(job_seconds=300)
    task = sync(deferrable=True).defer()
    while kili.operations[-1:] != ["ADD"]:
        task.fire().worker_run()
    task.clear().run()
    assert (task.state, kili.operations, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)
    assert task.logged("reconnecting to that job")


def test_a_clear_after_the_end_computes_again(sync, kili):
    """What is new since is added, and the result includes the work before."""
    task = sync().run()
    kili.put("new.png")
    task.clear().run()
    assert (task.state, kili.operations, len(kili.assets)) == ("success", ["CHECK", "ADD", "CHECK", "ADD"], 4)
    assert (task.result["added"], len(task.result["replaced_jobs"])) == (1, 3)


def test_not_waiting_for_the_end(sync, kili):
    """The last phase is submitted, and the task is done."""
    task = sync(wait_for_completion=False).run()
    assert (task.state, task.result["state"], task.result["to_add"]) == ("success", "running", 3)
    assert kili.operations == ["CHECK", "ADD"]


def test_the_link_leads_to_the_project(sync, kili):
    """As soon as the project is known, and the page is there."""
    import httpx

    task = sync(deferrable=True).defer()
    link = task.xcom("_link_KiliLink")
    assert link.endswith(f"/kili/label/projects/{kili.project}/")
    assert httpx.get(link, trust_env=False).status_code == 200
    assert task.run().result["url"] == link if task.state != "deferred" else task.fire().run().result["url"] == link


def test_airflow_knows_the_link():
    """By the plugin; a link that the API server does not know is not shown."""
    assert KiliLink in map(type, SluicePlugin.operator_extra_links)


def test_another_connection_is_another_job(sync, kili, sluice_connections, monkeypatch):
    """The record of one Airflow connection does not apply to another."""
    monkeypatch.setenv("AIRFLOW_CONN_KILI_OTHER", sluice_connections["kili_default"])
    task = sync()
    with task.death("end written", nth=2):  # find, check
        task.run()
    task.retry(kili_conn_id="kili_other")
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert kili.operations == ["CHECK", "CHECK", "ADD"]
    assert task.logged("WARNING", "The input has changed")


def test_lineage(sync, kili, sluice_sandbox):
    """What was written to is the project."""
    pytest.importorskip("airflow.providers.openlineage")
    task = sync().run()
    facets = task.operator.get_openlineage_facets_on_complete(None)
    host = sluice_sandbox.url.removeprefix("http://")
    assert [(each.namespace, each.name) for each in facets.outputs] == [(f"kili://{host}", f"projects/{kili.project}")]
    assert facets.run_facets["externalQuery"].externalQueryId == kili.me


def test_progress(sync, kili):
    """Kili reports how many assets there are and how many are pending: the summary has both."""
    summary = sync().run().summary
    assert (summary["done"], summary["total"]) == (3, 3)
