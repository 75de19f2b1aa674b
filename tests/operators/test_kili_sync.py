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
    life = sync(deferrable=deferrable).go()
    assert life.state == "success", life.error
    assert kili.assets == PICTURES
    assert kili.mutations == ["computeDifferences", "validateDataDifferences"]
    result = life.result
    assert {name: result[name] for name in ("added", "removed", "left", "to_add", "to_remove", "total")} == {
        "added": 3, "removed": 0, "left": 0, "to_add": 3, "to_remove": 0, "total": 3,
    }  # fmt: skip
    assert (result["assets_before"], result["assets_after"], result["dry_run"]) == (0, 3, False)
    assert (result["connection_id"], result["project_id"], result["state"]) == (kili.me, kili.project, "succeeded")


@WAYS
def test_no_new_files_means_no_additions(sync, kili, deferrable):
    """A second synchronisation computes, and applies nothing."""
    sync(deferrable=deferrable).go()
    life = sync(deferrable=deferrable).go()
    assert life.state == "success"
    assert kili.asked == ["CHECK", "ADD", "CHECK"]
    assert (life.result["added"], life.result["total"], life.result["assets_after"]) == (0, 0, 3)


@WAYS
def test_deleted_files_are_removed_only_on_request(sync, kili, deferrable):
    """Files that vanished stay as assets and are counted as left, until deletion is asked for."""
    sync().go()
    (kili.bucket / "cats" / "one.png").unlink()
    kili.put("cats/three.png")
    life = sync(deferrable=deferrable).go()
    assert kili.assets == ["cats/one.png", "cats/three.png", "cats/two.png", "dogs/one.png"]
    assert (life.result["added"], life.result["removed"], life.result["left"]) == (1, 0, 1)
    life = sync(deferrable=deferrable, delete_extraneous_files=True).go()
    assert kili.assets == ["cats/three.png", "cats/two.png", "dogs/one.png"]
    assert (life.result["added"], life.result["removed"], life.result["left"]) == (0, 1, 0)
    assert (life.result["assets_before"], life.result["assets_after"]) == (4, 3)


def test_adding_comes_before_removing(sync, kili):
    """In one task, one after the other, each waited for."""
    sync().go()
    kili.empty()
    kili.put("new.png")
    life = sync(delete_extraneous_files=True, deferrable=True).go()
    assert kili.asked[-3:] == ["CHECK", "ADD", "REMOVE"]
    assert (kili.assets, life.result["added"], life.result["removed"]) == (["new.png"], 1, 3)


@WAYS
def test_a_dry_run_changes_nothing(sync, kili, deferrable):
    """It tells what there is to do."""
    life = sync(dry_run=True, delete_extraneous_files=True, deferrable=deferrable).go()
    assert life.state == "success"
    assert (kili.assets, kili.asked) == ([], ["CHECK"])
    result = life.result
    assert (result["dry_run"], result["to_add"], result["added"], result["left"]) == (True, 3, 0, 3)


def test_verify(sync, kili):
    """`verify` computes once more; what came in meanwhile is left for the next time, not chased."""
    life = sync(verify=True, deferrable=True)
    life.defer()
    while kili.asked[-1] != "ADD":
        life.fire().leg()
    kili.put("late.png")
    life.fire().leg()
    life.fire().leg() if life.state == "deferred" else None
    assert life.state == "success"
    assert kili.asked == ["CHECK", "ADD", "CHECK"]
    assert (life.result["added"], life.result["left"], kili.assets) == (3, 1, PICTURES)


# --- limits


@pytest.mark.parametrize("limit", [0, 2, 0.5], ids=str)
def test_a_limit_protects_the_project(sync, kili, limit):
    """An emptied bucket would wipe the project: nothing is changed, no retry, and the numbers are named."""
    sync().go()
    kili.empty()
    kili.put("new.png")
    life = sync(delete_extraneous_files=True, max_removed=limit).go()
    assert (life.state, type(life.error)) == ("failed", SafetyLimitExceeded)
    assert f"3 of 3 assets would be removed, and max_removed is {limit!r}" in str(life.error)
    assert kili.assets == PICTURES
    assert kili.asked[-1] == "CHECK"


@pytest.mark.parametrize("limit", [1, 0.34], ids=str)
def test_within_the_limit_is_removed(sync, kili, limit):
    """One of three is a third."""
    sync().go()
    (kili.bucket / "dogs" / "one.png").unlink()
    life = sync(delete_extraneous_files=True, max_removed=limit).go()
    assert (life.state, life.result["removed"], len(kili.assets)) == ("success", 1, 2)


def test_the_limit_counts_again_right_before_removing(sync, kili, clock):
    """Somebody empties the bucket and computes anew while files are being added."""
    sync().go()
    (kili.bucket / "dogs" / "one.png").unlink()
    kili.put("new.png")
    life = sync(delete_extraneous_files=True, max_removed=1, deferrable=True).defer()
    while kili.asked[-1] != "ADD":
        life.fire().leg()
    clock.move(10)
    kili.empty()
    life.operator.hook.compute_differences(kili.me)
    life.go() if life.state != "deferred" else life.fire().leg()
    assert isinstance(life.error, SafetyLimitExceeded)
    assert "REMOVE" not in kili.asked


def test_a_dry_run_over_the_limit_warns(sync, kili):
    """It only looks."""
    sync().go()
    kili.empty()
    life = sync(delete_extraneous_files=True, max_removed=1, dry_run=True).go()
    assert (life.state, life.result["to_remove"]) == ("success", 3)
    assert life.said("WARNING", "3 of 3 assets would be removed", "without dry_run this task would fail")


def test_a_changed_limit_counts_after_clearing(sync, kili):
    """The author raises the limit and clears the task."""
    sync().go()
    kili.empty()
    life = sync(delete_extraneous_files=True, max_removed=1).go()
    life.args["max_removed"] = 3
    life.clear().go()
    assert (life.state, kili.assets) == ("success", [])


# --- which connection


def test_by_project_and_integration(sync, kili):
    """Where there is one connection of the pair, the pair names it."""
    life = sync(project_id=kili.project, cloud_storage_integration_id=kili.integration).go()
    assert (life.state, life.result["connection_id"]) == ("success", kili.me)


def test_project_and_integration_with_two_connections(sync, add, kili):
    """The error names both."""
    second = add().go().result["connection_id"]
    life = sync(project_id=kili.project, cloud_storage_integration_id=kili.integration).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    assert kili.me in str(life.error)
    assert second in str(life.error)


@pytest.mark.parametrize(
    "args",
    [{"cloud_storage_connection_id": "nobody"}, {"project_id": "nobody", "cloud_storage_integration_id": "nobody"}],
    ids=["connection", "pair"],
)
def test_an_unknown_connection_fails_immediately(sync, kili, args):
    """No retry, and Kili is not asked for anything."""
    life = sync(**args).go()
    assert (life.state, type(life.error)) == ("failed", NotFound)
    assert "nobody" in str(life.error)
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
    life = sync(**args).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    assert word in str(life.error)
    assert kili.requests() == []


def test_a_clear_compares_a_restored_bucket_again(sync, kili):
    """Not judged by the differences that were computed while it was empty."""
    sync().go()
    files = {name: (kili.bucket / name).read_bytes() for name in PICTURES}
    kili.empty()
    life = sync(delete_extraneous_files=True, max_removed=1).go()
    assert isinstance(life.error, SafetyLimitExceeded)
    for name, content in files.items():
        (kili.bucket / name).write_bytes(content)
    life.clear().go()
    assert (life.state, kili.assets, life.result["to_remove"]) == ("success", PICTURES, 0)


@WAYS
@pytest.mark.parametrize("nth", [1, 2], ids=["found", "computed"])
def test_a_clear_between_two_phases_continues(sync, kili, deferrable, nth):
    """Nothing is done twice."""
    life = sync(deferrable=deferrable)
    with life.death("end written", nth=nth):
        life.go()
    life.clear().go()
    assert (life.state, kili.asked, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)


def test_a_clear_while_files_are_being_added_continues(sync, kili):
    """Kili cannot be stopped, so this is what the user gets."""
    kili.settings(job_seconds=300)
    life = sync(deferrable=True).defer()
    while kili.asked[-1:] != ["ADD"]:
        life.fire().leg()
    life.clear().go()
    assert (life.state, kili.asked, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)
    assert life.said("reconnecting to that job")


def test_a_clear_after_the_end_computes_again(sync, kili):
    """What is new since is added, and the result tells of the work before."""
    life = sync().go()
    kili.put("new.png")
    life.clear().go()
    assert (life.state, kili.asked, len(kili.assets)) == ("success", ["CHECK", "ADD", "CHECK", "ADD"], 4)
    assert (life.result["added"], len(life.result["replaced_jobs"])) == (1, 3)


def test_not_waiting_for_the_end(sync, kili):
    """The last phase is submitted, and the task is done."""
    life = sync(wait_for_completion=False).go()
    assert (life.state, life.result["state"], life.result["to_add"]) == ("success", "running", 3)
    assert kili.asked == ["CHECK", "ADD"]


def test_the_link_leads_to_the_project(sync, kili):
    """As soon as the project is known, and the page is there."""
    import httpx

    life = sync(deferrable=True).defer()
    link = life.xcom("_link_KiliLink")
    assert link.endswith(f"/kili/label/projects/{kili.project}/")
    assert httpx.get(link, trust_env=False).status_code == 200
    assert life.go().result["url"] == link if life.state != "deferred" else life.fire().go().result["url"] == link


def test_airflow_knows_the_link():
    """By the plugin; a link that the API server does not know is not shown."""
    assert KiliLink in map(type, SluicePlugin.operator_extra_links)


def test_another_connection_is_another_job(sync, kili, sluice_connections, monkeypatch):
    """What one Airflow connection's Kili was told says nothing of another's."""
    monkeypatch.setenv("AIRFLOW_CONN_KILI_OTHER", sluice_connections["kili_default"])
    life = sync()
    with life.death("end written", nth=2):  # find, check
        life.go()
    life.retry(kili_conn_id="kili_other")
    assert (life.state, kili.assets) == ("success", PICTURES)
    assert kili.asked == ["CHECK", "CHECK", "ADD"]
    assert life.said("WARNING", "The input has changed")


def test_lineage(sync, kili, sluice_sandbox):
    """What was written to is the project."""
    pytest.importorskip("airflow.providers.openlineage")
    life = sync().go()
    facets = life.operator.get_openlineage_facets_on_complete(None)
    host = sluice_sandbox.url.removeprefix("http://")
    assert [(each.namespace, each.name) for each in facets.outputs] == [(f"kili://{host}", f"projects/{kili.project}")]
    assert facets.run_facets["externalQuery"].externalQueryId == kili.me


def test_progress(sync, kili):
    """Kili tells how many assets there are, and how many are to come: the summary has both."""
    summary = sync().go().summary
    assert (summary["done"], summary["total"]) == (3, 3)
