"""The user's side of a registration as tasks: asked for once, waited for, judged; whoever dies, whatever is lost."""

from __future__ import annotations

import pytest

from sluice_provider.apis.kaleidoscope.drafts_job import StageDraftsJob
from sluice_provider.errors import (
    Conflict,
    InvalidInput,
    JobFailed,
    NotFound,
    OutcomeUnknown,
    RowsRejected,
    Unreachable,
)
from tests.operators.airflow_harness import SECRET, changing
from tests.operators.registration_life import ROWS

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
DEATHS = ["before submitting", "intent written", "after submitting", "job written", "all written", "publishing"]
DEATHS += ["end written"]


# --- registering a file


@WAYS
def test_a_file_is_registered_and_waited_for(register, desk, deferrable):
    """The registrar answers by itself after a while; the result says how it ended."""
    desk.sandbox.settings(registrar="completes")
    life = register(deferrable=deferrable).go()
    [made] = desk.registrations
    assert life.state == "success"
    result = dict(life.result)
    assert result.pop("seconds") >= 3
    assert result.pop("submitted_at") < result.pop("ended_at")
    assert result == {
        "service": "kaleidoscope",
        "state": "succeeded",
        "operation_id": desk.operation_id,
        "file_id": desk.file_id,
        "registration_id": made["id"],
        "reused": False,
        "status": "completed",
        "rejected": 0,
        "url": life.xcom("_link_KaleidoscopeLink"),
    }
    assert result["url"].endswith(f"/web/operations/{desk.operation_id}")
    assert life.xcom("job_ids") == [made["id"]]


@WAYS
@pytest.mark.parametrize("moment", DEATHS)
def test_whoever_dies_registers_once(register, desk, moment, deferrable):
    """Wherever the first try ends, the second comes to the one registration."""
    desk.sandbox.settings(registrar="completes")
    life = register(deferrable=deferrable)
    with life.death(moment):
        life.go()
    life.retry()
    [made] = desk.registrations
    assert (life.state, life.result["registration_id"]) == ("success", made["id"])


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_answer_is_looked_for_at_once(register, desk, drop):
    """The same try finds what it made, or asks again when nothing came of it."""
    desk.sandbox.settings(registrar="completes")
    desk.trouble("/register/", drop=drop)
    life = register().go()
    [made] = desk.registrations
    assert (life.state, life.result["registration_id"]) == ("success", made["id"])
    assert life.said("WARNING", "The outcome of a request is unknown")
    line = "The service accepted the request" if drop == "after" else "Submitting again: the request had no effect"
    assert life.said("WARNING", line)


def test_a_registration_that_shows_late_is_found(register, desk, clock):
    """A listing may lag behind: it is looked at for two minutes before anything is asked for again."""
    life = register(wait_for_completion=False)
    with life.death("after submitting"):
        life.go()
    desk.sandbox.faults([{"method": "GET", "path": "registrations", "times": 5, "status": 200, "body": []}])
    life.retry()
    assert (life.state, len(desk.registrations)) == ("success", 1)
    assert sum(clock.naps) > 5


def test_two_lost_askings_are_left_to_the_next_try(register, desk):
    """One try asks twice at the most."""
    desk.trouble("/register/", drop="before", times=2)
    life = register(wait_for_completion=False).go()
    assert isinstance(life.error, Unreachable)
    assert (life.state, desk.registrations) == ("up_for_retry", [])
    life.retry()
    assert (life.state, len(desk.registrations)) == ("success", 1)


@pytest.mark.parametrize(
    ("before", "choice", "state", "count"),
    [
        ("pending", "reuse", "success", 1),
        ("completed", "reuse", "success", 1),
        ("failed", "reuse", "success", 2),
        ("completed", "again", "success", 2),
        ("completed", "fail", "failed", 1),
        ("failed", "fail", "success", 2),
    ],
)
def test_a_file_that_is_registered_already(register, desk, before, choice, state, count):
    """It is not registered twice, unless the author wants it, or it failed."""
    there = desk.register()
    if before != "pending":
        desk.answer("success" if before == "completed" else "error")
    life = register(if_registered=choice, wait_for_completion=False).go()
    assert (life.state, len(desk.registrations)) == (state, count)
    if state == "failed":
        assert isinstance(life.error, Conflict)
    else:
        assert life.result["reused"] is (count == 1)
        assert (life.result["registration_id"] == there) is (count == 1)


def test_somebody_else_registers_at_the_same_moment(register, desk):
    """Between our look and our asking: the refusal is looked into."""
    there = desk.register()
    desk.sandbox.faults([{"method": "GET", "path": "registrations", "status": 200, "body": []}])
    life = register(wait_for_completion=False).go()
    assert (life.state, life.result["registration_id"], len(desk.registrations)) == ("success", there, 1)
    desk.sandbox.faults([{"method": "GET", "path": "registrations", "status": 200, "body": []}])
    life = register(wait_for_completion=False, if_registered="fail").go()
    assert (life.state, type(life.error)) == ("failed", Conflict)


def test_what_was_there_before_is_forgotten(submit, desk):
    """Once the id is known: it may be long, and a trigger would carry it."""
    desk.stage()
    before = desk.submit(validation=True)
    life = submit(deferrable=True).defer()
    assert before not in str((life.trigger().serialize(), life.record))


def test_errors_on_records_fail_for_good(register, desk, clock):
    """They are in the log and in the error, and no retry would mend them."""
    life = register()
    bad = {"record_id": "r2", "status": "error", "error_message": "bad SMILES"}
    clock.on_nap = lambda: desk.registrations[0]["status"] == "pending" and desk.answer("error", records=[bad])
    life.go()
    assert (life.state, type(life.error)) == ("failed", JobFailed)
    assert "row r2: status=error: bad SMILES" in str(life.error)
    assert life.said("WARNING", "Rejected: row r2")


def test_a_registration_that_failed_as_a_whole_is_asked_for_again(register, desk):
    """By the next try: that may be another day at the registrar's."""
    desk.sandbox.settings(registrar="fails", job_seconds=5)
    life = register().go()
    assert (life.state, type(life.error)) == ("up_for_retry", JobFailed)
    desk.sandbox.settings(registrar="completes")
    life.retry()
    assert (life.state, [each["status"] for each in desk.registrations]) == ("success", ["failed", "completed"])


def test_what_was_reused_and_failed_is_registered_by_us(register, desk):
    """The result says so."""
    desk.sandbox.settings(registrar="fails", job_seconds=60)
    desk.register()
    life = register().go()
    assert (life.state, type(life.error)) == ("up_for_retry", JobFailed)
    desk.sandbox.settings(registrar="completes")
    life.retry()
    assert (life.state, life.result["reused"], len(desk.registrations)) == ("success", False, 2)


def test_a_file_that_is_not_there(register, desk):
    """The remote's own words, and no second try."""
    life = register(file_id="other").go()
    assert (life.state, type(life.error)) == ("failed", NotFound)
    assert "File other not found" in str(life.error)


# --- drafts are staged


@WAYS
def test_drafts_are_staged(stage, desk, deferrable):
    """Rows become drafts; the result is that of the import."""
    life = stage(deferrable=deferrable).go()
    assert life.state == "success"
    assert desk.drafts == {"Aspirin": "", "Caffeine": ""}
    told = {name: life.result[name] for name in ("staged", "replaced", "created", "rejected", "operation_id")}
    assert told == {"staged": 2, "replaced": 0, "created": 2, "rejected": 0, "operation_id": desk.operation_id}
    assert life.result["import_ids"] == [each["id"] for each in desk.state["imports"]]


@WAYS
@pytest.mark.parametrize("moment", DEATHS)
def test_whoever_dies_stages_once(stage, desk, moment, deferrable):
    """The same rows staged twice would be four drafts."""
    life = stage(deferrable=deferrable)
    with life.death(moment):
        life.go()
    life.retry()
    assert (life.state, len(desk.state["drafts"])) == ("success", 2)


@pytest.mark.parametrize("path", ["/imports$", "/run$"])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_answer_doubles_no_draft(stage, desk, path, drop):
    """Rows are handed over again, which makes nothing; they are run again only if nothing came of it."""
    desk.trouble(path, drop=drop)
    life = stage().go()
    assert (life.state, len(desk.state["drafts"])) == ("success", 2)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_running_that_is_lost_is_resolved_by_the_next_try(stage, desk, drop):
    """Also when the looking fails."""
    desk.sandbox.faults(
        [
            {"method": "POST", "path": "/run$", "drop": drop},
            {"method": "GET", "path": "/imports/", "times": 50, "status": 503},
        ]
    )
    life = stage().go()
    assert life.state == "up_for_retry"
    desk.sandbox.faults([])
    life.retry()
    assert (life.state, len(desk.state["drafts"])) == ("success", 2)


@pytest.fixture
def run_by_hand(desk):
    """The request that runs the last import, as it lands from wherever it was held up; gives its status."""

    def land():
        staging = desk.hook.get_staging(desk.operation_id)
        import_id = desk.state["imports"][-1]["id"]
        try:
            desk.hook.run_draft_import(import_id, ["name"], ["smiles"], staging)
        except Conflict:
            return "refused"
        return "run"

    return land


def test_a_request_that_lands_late_is_waited_for(stage, desk, clock, run_by_hand):
    """The answer to running is lost, and the request still on its way: for two minutes nothing is run again."""
    desk.trouble("/run$", drop="before")
    landed = []
    clock.on_nap = lambda: clock.ahead > 60 and not landed and landed.append(run_by_hand())
    life = stage().go()
    assert (life.state, landed, len(desk.state["drafts"])) == ("success", ["run"], 2)
    assert life.result["import_ids"] == [each["id"] for each in desk.state["imports"]]
    assert 60 < clock.ahead < 120


def test_a_request_that_lands_too_late_doubles_nothing(stage, desk, run_by_hand, monkeypatch):
    """Nobody expected it any more, and it lands right before the import is run again: that is refused, looked into, and
    found to be done. The rows were not handed over a second time."""
    desk.trouble("/run$", drop="before")
    landed, runs = [], []
    original = StageDraftsJob.run

    def run(self, *args):
        runs.append(args)
        if len(runs) == 2:
            landed.append(run_by_hand())
        return original(self, *args)

    monkeypatch.setattr(StageDraftsJob, "run", run)
    life = stage().go()
    assert (life.state, landed, len(desk.state["drafts"])) == ("success", ["run"], 2), life.error
    assert len(desk.state["imports"]) == 1
    assert len(desk.asked("/run")) == 3


def test_a_process_that_wakes_up_late_doubles_nothing(stage, desk, run_by_hand):
    """It stood still right before sending, and the next try ran the same import meanwhile."""
    life = stage()
    with life.death("before submitting"):
        life.go()
    life.retry()
    assert (life.state, run_by_hand()) == ("success", "refused")
    desk.sandbox.advance(60)
    assert len(desk.state["drafts"]) == 2
    assert len(desk.state["imports"]) == 1


def test_a_source_of_drafts_that_changes_meanwhile(stage, desk, tmp_path):
    """Rows that were never checked are not staged."""
    path = tmp_path / "rows.csv"
    path.write_text("name,smiles\nAspirin,CC\nCaffeine,Cn\n")
    with changing(path, "name,smiles\nAspirin,CC\nEvil,\nMore,x\n"):
        life = stage(records=str(path), batch_size=1).go()
    assert (life.state, sorted(desk.drafts)) == ("success", ["Aspirin", "Caffeine"])


def test_batches_are_imports_of_their_own(stage, desk):
    """What was staged before a death is not staged again."""
    rows = [{"name": f"C{number}"} for number in range(7)]
    life = stage(records=rows, batch_size=3)
    with life.death("intent written", nth=2):
        life.go()
    assert len(life.phase.submissions) == 1
    life.retry()
    assert life.result["staged"] == 7
    assert sorted(desk.drafts) == [row["name"] for row in rows]
    assert len(desk.state["drafts"]) == 7


def test_a_request_that_is_too_large_is_halved(stage, desk):
    """Until it fits."""
    desk.sandbox.settings(max_body_bytes=2000)
    rows = [{"name": f"C{number}", "smiles": "C" * 100} for number in range(40)]
    life = stage(records=rows).go()
    assert (life.state, len(desk.state["drafts"])) == ("success", 40)
    assert len(life.result["import_ids"]) > 1


def test_drafts_are_replaced(stage, desk):
    """Those that were there before, and of several imports only by the first."""
    desk.stage([{"name": "Old"}])
    life = stage(replace_existing=True, batch_size=1).go()
    assert (life.state, life.result["replaced"]) == ("success", 1)
    assert desk.drafts == {"Old": "replaced", "Aspirin": "", "Caffeine": ""}


def test_replacing_goes_on_with_what_was_there_first(stage, desk):
    """A second try does not archive what the first one staged."""
    desk.stage([{"name": "Old"}])
    life = stage(replace_existing=True, batch_size=1)
    with life.death("job written", nth=1):
        life.go()
    desk.sandbox.advance(60)
    life.retry()
    assert desk.drafts == {"Old": "replaced", "Aspirin": "", "Caffeine": ""}


def test_what_failed_first_does_not_replace_what_was_staged_since(stage, desk):
    """The first rows fail and are staged again: then the drafts of the others are there, too, and stay."""
    desk.stage([{"name": "Old"}])
    desk.sandbox.settings(fail_imports=1)
    life = stage(replace_existing=True, batch_size=1).go()
    assert (life.state, desk.drafts) == ("up_for_retry", {"Old": "", "Caffeine": ""})
    life.retry()
    assert (life.state, desk.drafts) == ("success", {"Old": "replaced", "Caffeine": "", "Aspirin": ""})


def test_what_is_replaced_is_what_is_there_then(stage, desk):
    """A try that staged nothing has seen other drafts than the next one."""
    (old,) = desk.stage([{"name": "Old"}])
    desk.trouble("/imports", times=99, status=503)
    life = stage(replace_existing=True).go()
    assert life.state == "up_for_retry"
    desk.sandbox.faults([])
    desk.hook.clear_drafts(desk.operation_id, [old])
    desk.stage([{"name": "New"}])
    life.retry()
    assert (life.state, life.result["replaced"]) == ("success", 1), life.error
    assert {name for name, why in desk.drafts.items() if not why} == {"Aspirin", "Caffeine"}


def test_replacing_is_refused_while_a_draft_is_under_way(stage, desk):
    """Then nothing was staged."""
    desk.stage([{"name": "Old"}])
    desk.submit()
    life = stage(replace_existing=True, batch_size=1).go()
    assert (life.state, type(life.error)) == ("failed", Conflict)
    assert desk.drafts == {"Old": ""}


def test_rows_that_are_rejected(stage, desk):
    """By the author's policy, as with a push."""
    desk.sandbox.settings(rejected_rows=1)
    error = stage().go().error
    assert isinstance(error, RowsRejected)
    assert "two drafts each" in str(error)
    assert stage(on_rejected_rows="warn").go().result["rejected"] == 1


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"name": "A", "colour": "red"}], "'colour': neither key fields nor data fields .*smiles"),
        ([{"name": "A"}, {"smiles": "C"}], "record 2 has no name, a key field; it has smiles"),
        ([], "no records to stage"),
        ('{"name": "A"}\n{"name": "B", "smiles": NaN}\n', "line 2 cannot be encoded as JSON"),
        ([{"name": "A", "": 1}], "a field without a name"),
        ("nowhere.csv", "no such file"),
        ("[{}]", "is the text of a list"),
    ],
)
def test_rows_that_cannot_be_staged(stage, desk, tmp_path, records, words):
    """Each is named, and nothing was sent but looks."""
    if isinstance(records, str) and "\n" in records:
        (tmp_path / "rows.jsonl").write_text(records)
        records = str(tmp_path / "rows.jsonl")
    life = stage(records=records).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    life.error.args = (str(life.error),)
    with pytest.raises(InvalidInput, match=words):
        raise life.error
    assert desk.asked("/imports") == []


def test_no_staging_table(stage, desk):
    """It is said what is missing."""
    desk.sandbox.settings(staging_table=False)
    life = stage().go()
    assert isinstance(life.error, InvalidInput)
    assert "no registration staging table" in str(life.error)


# --- drafts are submitted


@WAYS
def test_drafts_are_submitted(submit, desk, deferrable):
    """All of them; what is registered leaves the table."""
    desk.stage()
    desk.sandbox.settings(registrar="completes")
    life = submit(deferrable=deferrable).go()
    [made] = desk.submissions
    assert life.state == "success"
    told = {name: life.result[name] for name in ("submission_id", "status", "records", "rejected", "validate_only")}
    assert told == {
        "submission_id": made["id"],
        "status": "completed",
        "records": 2,
        "rejected": 0,
        "validate_only": False,
    }
    assert desk.drafts == {"Aspirin": "registered", "Caffeine": "registered"}


@WAYS
@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize("moment", DEATHS)
def test_whoever_dies_submits_once(submit, desk, moment, validate_only, deferrable):
    """Each asking would be another submission."""
    desk.stage()
    desk.sandbox.settings(registrar="completes")
    life = submit(deferrable=deferrable, validate_only=validate_only)
    with life.death(moment):
        life.go()
    life.retry()
    [made] = desk.submissions
    assert (life.state, life.result["submission_id"]) == ("success", made["id"])


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("some", [False, True])
def test_a_lost_answer_is_no_second_submission(submit, desk, drop, some):
    """Of all drafts, or of some; and others that were there before are not taken for ours."""
    ids = desk.stage()
    desk.submit(validation=True)
    desk.submit()
    desk.trouble("_drafts", drop=drop)
    life = submit(record_ids=ids[:1] if some else None, wait_for_completion=False).go()
    assert (life.state, len(desk.submissions)) == ("success", 3)
    assert life.result["submission_id"] == desk.submissions[2]["id"]


def test_a_submission_that_cannot_be_told_from_anothers(submit, desk):
    """Then a person must look, and is told where."""
    desk.stage()
    life = submit(wait_for_completion=False)
    with life.death("after submitting"):
        life.go()
    other = desk.submit()
    life.retry()
    assert (life.state, type(life.error)) == ("failed", OutcomeUnknown)
    assert other in str(life.error)
    assert "KaleidoscopeRegistrationSensor" in str(life.error)
    assert len(desk.submissions) == 2


@pytest.mark.parametrize(("policy", "state"), [("fail", "failed"), ("warn", "success"), ("ignore", "success")])
def test_a_dry_run_that_turns_drafts_away(submit, desk, policy, state):
    """It did its work; what the verdict means is the author's choice."""
    desk.stage()
    desk.sandbox.settings(registrar="fails")
    life = submit(validate_only=True, on_rejected_rows=policy).go()
    assert life.state == state
    assert life.said("Rejected: row") is (policy != "ignore")
    if state == "failed":
        assert isinstance(life.error, RowsRejected)
        assert "nothing was registered" in str(life.error)
    else:
        assert (life.result["status"], life.result["rejected"]) == ("validation_failed", 2)
    assert desk.drafts == {"Aspirin": "", "Caffeine": ""}


def test_a_submission_that_failed(submit, desk):
    """Whatever the policy, with the registrar's words on each draft."""
    desk.stage()
    desk.sandbox.settings(registrar="fails")
    life = submit(on_rejected_rows="ignore").go()
    assert (life.state, type(life.error)) == ("failed", JobFailed)
    assert "Record rejected by the automatic registrar" in str(life.error)


# --- bad input, and secrets


@pytest.mark.parametrize(
    ("what", "args", "words"),
    [
        ("register", {"operation_id": ""}, "operation_id must be a non-empty id"),
        (
            "register",
            {"file_id": "None"},
            "file_id must be a non-empty id, not 'None': the XCom, parameter or variable",
        ),
        ("register", {"file_id": 7}, "file_id must be a non-empty id"),
        ("register", {"if_registered": "maybe"}, "if_registered must be one of 'reuse', 'fail', 'again'"),
        ("stage", {"key_field_names": None}, "key_field_names must be a non-empty list"),
        ("stage", {"key_field_names": "name"}, "key_field_names must be a non-empty list of strings"),
        ("stage", {"key_field_names": ["name", "name"]}, "key_field_names must not contain the same string twice"),
        ("stage", {"key_field_names": [""]}, "key_field_names[0] must be a non-empty string"),
        ("stage", {"batch_size": 0}, "batch_size"),
        ("stage", {"max_bytes": 10}, "max_bytes"),
        ("stage", {"on_rejected_rows": "x"}, "on_rejected_rows"),
        ("submit", {"record_ids": []}, "record_ids must be a non-empty list of strings"),
        ("submit", {"record_ids": "abc"}, "record_ids must be a non-empty list"),
        ("submit", {"record_ids": ["a b"]}, "record_ids[0] must be one id"),
        ("submit", {"on_rejected_rows": "x"}, "on_rejected_rows"),
        ("submit", {"operation_id": None}, "operation_id must be a non-empty id"),
    ],
)
def test_bad_input_is_told_before_anything_is_sent(request, desk, what, args, words):
    """Each line, in words that name the argument; no retry would help."""
    life = request.getfixturevalue(what)(**args).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    assert words in str(life.error)
    assert desk.sandbox.requests() == []


def test_no_secret_is_told(register, stage, submit, desk):
    """Neither in logs nor in results, also where everything goes wrong."""
    desk.stage(ROWS[:1])
    desk.trouble("operations|run", drop="after", times=2)
    lives = [each(deferrable=True, wait_for_completion=False).go() for each in (register, stage, submit)]
    told = [str((life.log, life.xcom(), life.head, life.record, life.error)) for life in lives]
    assert all(SECRET not in text and "Bearer" not in text for text in told)
    assert all("signature=" not in text for text in told)


def test_a_cleared_task_does_it_again(submit, desk):
    """When nothing is under way any more: the user wants another one."""
    desk.stage()
    desk.sandbox.settings(registrar="completes")
    life = submit(validate_only=True).go()
    life.clear().go()
    assert (life.state, len(desk.submissions)) == ("success", 2)
    assert life.result["submission_id"] == desk.submissions[1]["id"]


def test_openlineage_is_told(register, stage, submit, desk, tmp_path):
    """The operation is what is written; of rows in a file, the file is what was read."""
    pytest.importorskip("airflow.providers.openlineage")
    (tmp_path / "rows.csv").write_text("name\nAspirin\n")
    for life, inputs in (
        (stage(records=str(tmp_path / "rows.csv"), wait_for_completion=False), [str(tmp_path / "rows.csv")]),
        (register(wait_for_completion=False), []),
    ):
        facets = life.go().operator.get_openlineage_facets_on_complete(None)
        assert [each.name for each in facets.inputs] == inputs
        assert [each.name for each in facets.outputs] == [f"operations/{desk.operation_id}"]
        assert facets.run_facets["externalQuery"].externalQueryId in str(life.result)
