"""Every flow of Kaleidoscope's API, as a worker and as a triggerer run it, against the sandbox."""

from __future__ import annotations

import inspect

import pytest

from sluice_provider.apis.kaleidoscope import endpoints as kal
from sluice_provider.errors import ClientError, InvalidInput, NotFound, UnexpectedResponse
from sluice_provider.http.flow import Request
from sluice_provider.jobs import JobState
from sluice_provider.jobs.polling import Wanted, get_status, get_statuses
from tests.flows import logged_requests, response, run_flow

H, HE = {"symbol": "H", "name": "Hydrogen"}, {"symbol": "He", "name": "Helium"}


@pytest.fixture
def ids(sluice_sandbox):
    """Of the program, the operation, ... that the sandbox has."""
    return sluice_sandbox.state()["kaleidoscope"]["ids"]


def held(sandbox):
    """What the sandbox holds."""
    return sandbox.state()["kaleidoscope"]


def test_every_flow_is_tested_here():
    """A new flow needs an entry here."""
    flows = [
        name
        for name, thing in inspect.getmembers(kal, inspect.isgeneratorfunction)
        if thing.__module__ == kal.__name__ and not name.startswith("_")
    ]
    here = inspect.getsource(inspect.getmodule(test_every_flow_is_tested_here))
    assert [name for name in flows if f"kal.{name}" not in here] == []


# --- reads


def test_workspace(run, ids):
    """The one that the credentials belong to."""
    workspace = run(kal.get_active_workspace())
    assert workspace["id"] == ids["workspace_id"]
    assert workspace["workspace_name"]


@pytest.mark.parametrize(
    ("flow", "path", "member"),
    [
        (kal.get_programs, "programs", "title"),
        (kal.get_activities, "activities", "id"),
        (kal.get_entity_slices, "entity_slices", "slice_name"),
        (kal.get_key_fields, "key_fields", "field_name"),
        (kal.get_data_fields, "data_fields", "field_name"),
        (kal.get_record_views, "record_views", "id"),
    ],
)
def test_lists(run, sluice_sandbox, flow, path, member):
    """Each is one GET, and a list of objects."""
    found = run(flow())
    assert found
    assert all(item[member] for item in found)
    (request,) = logged_requests(sluice_sandbox)
    assert (request["method"], request["path"]) == ("GET", f"/kaleidoscope/{path}")


@pytest.mark.parametrize("flow", [kal.get_programs, kal.get_imports])
@pytest.mark.parametrize("body", [{"programs": []}, "text", None])
def test_a_response_that_is_not_a_list(flow, body):
    """An undocumented envelope is an unexpected response."""
    assert isinstance(run_flow(flow(), response(200, body)).error, UnexpectedResponse)


@pytest.mark.parametrize("body", [[], "text", None, 7])
def test_a_response_that_is_not_an_object(body):
    """Likewise."""
    assert isinstance(run_flow(kal.get_active_workspace(), response(200, body)).error, UnexpectedResponse)


# --- pushing by name


def test_push_by_field_name(run, sluice_sandbox):
    """The records land, and the id leads to the import."""
    import_id = run(kal.push_by_field_name(["symbol"], [H, HE]))
    assert run(kal.get_import(import_id))["import_result"]["records_created"] == 2
    assert [record["values"]["name"] for record in held(sluice_sandbox)["records"]] == ["Hydrogen", "Helium"]


def test_all_arguments_by_field_name(run, sluice_sandbox, ids):
    """Program, operation, source, views and set name reach the service in the right fields."""
    wanted = {"program_id": ids["program_id"], "operation_id": ids["operation_id"], "set_name": "first"}
    views = {"record_view_id": ids["record_view_id"], "add_fields_to_record_view_ids": [ids["record_view_id"]]}
    run(kal.push_by_field_name(["symbol"], [H], source_id=ids["source_id"], **wanted, **views))
    (request,) = logged_requests(sluice_sandbox)
    assert request["path"] == f"/kaleidoscope/push/imports/{ids['source_id']}"
    assert request["json"] == {"key_field_names": ["symbol"], "data": [H], **wanted, **views}


def test_none_is_not_sent():
    """No empty list, no null: an older or newer server would read something into it."""
    flow = kal.push_by_field_name(("symbol",), (H,))
    expected = {"key_field_names": ["symbol"], "data": [H]}
    assert next(flow) == Request("POST", "push/imports", json=expected, idempotent=True)


def test_empty_values_are_sent():
    """It was given."""
    flow = kal.push_by_field_name(["symbol"], [H], record_view_ids=[], set_name="")
    assert next(flow).json == {"key_field_names": ["symbol"], "data": [H], "record_view_ids": [], "set_name": ""}


def test_a_repeated_push_updates(run, sluice_sandbox):
    """Records are kept by their keys: this is why the call may be repeated."""
    for _ in range(2):
        run(kal.push_by_field_name(["symbol"], [H]))
    (record,) = held(sluice_sandbox)["records"]
    assert record["pushes"] == 2


@pytest.mark.parametrize(("source_id", "path"), [("a/b?c", "a%2Fb%3Fc"), ("ü ", "%C3%BC%20"), ("..a", "..a")])
def test_a_source_is_one_segment(source_id, path):
    """Whatever is in it, it cannot name another endpoint."""
    assert next(kal.push_by_field_name(["symbol"], [H], source_id=source_id)).path == f"push/imports/{path}"


@pytest.mark.parametrize("source_id", ["", " ", ".", "..", "by-field-id", 7])
def test_bad_sources(source_id):
    """Refused before anything is sent."""
    assert isinstance(run_flow(kal.push_by_field_name(["symbol"], [H], source_id=source_id)).error, InvalidInput)


def test_a_wrong_record(run, ids):
    """The service's message names them."""
    with pytest.raises(ClientError, match="body/data/1/symbol Required") as refusal:
        run(kal.push_by_field_name(["symbol"], [H, {"name": "nobody"}]))
    assert (refusal.value.status, refusal.value.code) == (400, "FST_ERR_VALIDATION")


# --- pushing by id


def test_push_by_field_id(run, sluice_sandbox, ids):
    """The same, by the ids of the fields, with the views that are honoured here."""
    fields = {field["field_name"]: field["id"] for field in run(kal.get_data_fields())}
    key = next(field["id"] for field in run(kal.get_key_fields()) if field["field_name"] == "symbol")
    row = {key: "H", fields["name"]: "Hydrogen"}
    wanted = {"program_id": ids["program_id"], "operation_id": ids["operation_id"], "set_name": "first"}
    views = {"record_view_ids": [ids["record_view_id"]]}
    import_id = run(kal.push_by_field_id([key], [row], **wanted, **views))
    assert logged_requests(sluice_sandbox)[-1]["json"] == {"key_field_ids": [key], "data": [row], **wanted, **views}
    assert run(kal.get_import(import_id))["import_result"]["records_created"] == 1
    assert held(sluice_sandbox)["records"][0]["values"] == {"name": "Hydrogen"}


def test_views_are_always_sent_by_id():
    """As the vendor's client does."""
    flow = kal.push_by_field_id(["f1"], [{"f1": 1}])
    expected = {"key_field_ids": ["f1"], "data": [{"f1": 1}], "record_view_ids": []}
    assert next(flow) == Request("POST", "push/imports/by-field-id", json=expected, idempotent=True)


@pytest.mark.parametrize("body", [{}, {"import_id": None}, {"import_id": ""}, {"import_id": 7}, [], "ok", None])
def test_accepted_without_an_id(body):
    """Its outcome could never be checked, so it is not a success."""
    for flow in (kal.push_by_field_name(["symbol"], [H]), kal.push_by_field_id(["f1"], [{}])):
        assert isinstance(run_flow(flow, response(200, body)).error, UnexpectedResponse)


# --- imports


def test_an_unknown_import(run):
    """404, and the id is in the words."""
    with pytest.raises(NotFound, match="imports/nobody returned 404"):
        run(kal.get_import("nobody"))


@pytest.mark.parametrize("body", [{}, {"id": "i"}, {"is_complete": True}, {"id": "i", "is_complete": "yes"}, [], None])
def test_an_import_of_another_shape(body):
    """Without an id or a clear word on whether it is over it says nothing."""
    assert isinstance(run_flow(kal.get_import("i"), response(200, body)).error, UnexpectedResponse)


@pytest.mark.parametrize("first_page", [0, 1])
def test_all_imports_are_listed(worker, sluice_sandbox, first_page):
    """Each once, whatever the page boundaries and page sizes."""
    pushed = {worker(kal.push_by_field_name(["symbol"], [H])) for _ in range(5)}
    for most in (1, 2, 3, 5, 100):
        sluice_sandbox.settings(first_page_number=first_page, page_size=most)
        for page_size in (2, 5, 100):
            found = worker(kal.get_imports(page_size=page_size))
            assert (len(found), {item["id"] for item in found}) == (5, pushed)


def test_no_imports(run):
    """An empty workspace is no error."""
    assert run(kal.get_imports()) == []


def test_imports_by_completeness(run, sluice_sandbox):
    """Only those that are over, only those that are not, or all."""
    done = run(kal.push_by_field_name(["symbol"], [H]))
    sluice_sandbox.settings(job_seconds=60)
    running = run(kal.push_by_field_name(["symbol"], [HE]))
    assert [item["id"] for item in run(kal.get_imports(True))] == [done]
    assert [item["id"] for item in run(kal.get_imports(False))] == [running]
    assert {item["id"] for item in run(kal.get_imports())} == {done, running}


def test_a_listing_that_never_ends():
    """A service that ignores the page number does not cause an endless loop."""
    page = response(200, [{"id": "a"}, {"id": "b"}])
    assert len(run_flow(kal.get_imports(page_size=2), *[page] * 9).value) == 2


# --- the states of many imports


def states_of(run, ids):
    """Of these imports, by the listing alone."""
    return run(kal.JOB_TYPES["import"].list_statuses([Wanted(each, {}) for each in ids]))


@pytest.mark.parametrize("first_page", [0, 1])
@pytest.mark.parametrize("page_size", [3, 7, 100])
def test_many_imports_are_listed(run, sluice_sandbox, first_page, page_size):
    """With the same content as one by one, whatever the pages are like."""
    sluice_sandbox.settings(job_seconds=60, page_size=page_size, first_page_number=first_page)
    ids = [run(kal.push_by_field_name(["symbol"], [H])) for _ in range(14)]
    assert [(job.id, job.state) for job in states_of(run, ids)] == [(each, JobState.RUNNING) for each in ids]
    sluice_sandbox.advance(1000)
    assert states_of(run, ids) == [run(get_status(kal.JOB_TYPES["import"], Wanted(each, {}))) for each in ids]


def test_the_listing_costs_few_requests(worker, sluice_sandbox):
    """A page has up to 100 imports; one more for each of the two kinds of numbering."""
    sluice_sandbox.settings(job_seconds=60, page_size=10)
    ids = [worker(kal.push_by_field_name(["symbol"], [H])) for _ in range(40)]
    sluice_sandbox.requests(clear=True)
    assert None not in states_of(worker, ids)
    assert len(logged_requests(sluice_sandbox)) <= 5
    sluice_sandbox.advance(1000)
    sluice_sandbox.requests(clear=True)
    assert None not in states_of(worker, ids)
    assert len(logged_requests(sluice_sandbox)) <= 7


def test_a_listing_of_other_imports_is_given_up(worker, sluice_sandbox):
    """Its order is not documented: the wanted ones may be behind any number of others."""
    sluice_sandbox.settings(page_size=3)
    old = [worker(kal.push_by_field_name(["symbol"], [H])) for _ in range(6)]
    for _ in range(12):
        worker(kal.push_by_field_name(["symbol"], [HE]))
    sluice_sandbox.requests(clear=True)
    assert states_of(worker, old) == [None] * 6
    assert len(logged_requests(sluice_sandbox)) <= 4
    found = worker(get_statuses(kal.JOB_TYPES["import"], [Wanted(each, {}) for each in old]))
    assert [job.id for job in found] == old


def test_a_listing_without_results_is_not_enough():
    """An import that has succeeded is requested alone, if the listing leaves out what it did."""
    listed = [{"id": str(number), "is_complete": True, "import_status": "completed"} for number in range(5)]
    flow = kal.JOB_TYPES["import"].list_statuses([Wanted(str(number), {}) for number in range(5)])
    answers = [response(200, []), response(200, []), response(200, listed)]
    assert run_flow(flow, *answers).value == [None] * 5


@pytest.mark.parametrize("status", [404, 500])
def test_without_a_listing_imports_are_requested_one_by_one(worker, sluice_sandbox, status):
    """A server may not have it."""
    ids = [worker(kal.push_by_field_name(["symbol"], [H])) for _ in range(6)]
    sluice_sandbox.faults([{"path": "imports$", "status": status, "times": 5}])
    found = worker(get_statuses(kal.JOB_TYPES["import"], [Wanted(each, {}) for each in ids]))
    assert [job.id for job in found] == ids


# --- an import as a job


def job(**more):
    """An import in the API's shape, as a job."""
    return kal.import_job({"id": "i", "import_status": "completed", "is_complete": True, **more})


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ({"is_complete": False, "import_status": "created"}, JobState.RUNNING),
        ({"is_complete": False, "import_status": "completed"}, JobState.RUNNING),
        ({"is_complete": False, "import_status": "failed"}, JobState.RUNNING),
        ({"is_complete": False, "import_status": "never heard of"}, JobState.RUNNING),
        ({}, JobState.SUCCEEDED),
        ({"import_status": None}, JobState.SUCCEEDED),
        ({"import_status": "never heard of"}, JobState.SUCCEEDED),
        ({"import_status": "failed"}, JobState.FAILED),
        ({"error_message": "boom"}, JobState.FAILED),
        ({"import_status": "failed", "import_result": {"records_created": 1}}, JobState.FAILED),
    ],
)
def test_states(raw, state):
    """`is_complete` alone says that it is over; the status is a free word; a message makes it a failure."""
    assert job(**raw).state is state


def test_status_and_message():
    """Status, message and the detail that only the raw answer has."""
    failed = job(import_status="failed", error_message="boom", error_details={"failed_row": 4})
    assert (failed.service_status, failed.message) == ("failed", "boom {'failed_row': 4}")
    assert job(import_status=None).service_status == ""


ERROR = {
    "incoming_record_identifier": "H",
    "field_name": "density",
    "value": "heavy",
    "conflict_type": "invalid_format",
}


def test_counts_and_rejections():
    """Rows are counted by the service's count, not by the number of errors; the first of them are kept."""
    verdicts = {"failed": 120, "errors": [ERROR] * 150}
    done = job(import_result={"records_created": 3, "records_updated": 2, "validation_result": verdicts})
    assert done.counts == {"created": 3, "updated": 2, "skipped": 0, "rejected": 120}
    assert len(done.rejections) == 100
    assert str(done.rejections[0]) == "row H: density='heavy': invalid_format"


@pytest.mark.parametrize(
    ("result", "rejected"),
    [
        (None, 0),
        ({}, 0),
        ({"validation_result": None}, 0),
        ({"validation_result": {"failed": None, "errors": None}}, 0),
        ({"validation_result": {"errors": [ERROR, ERROR]}}, 2),
        ({"validation_result": {"failed": 0, "errors": [ERROR]}}, 0),
        ({"validation_result": {"errors": ["text", {}]}}, 1),
        ({"records_created": None, "validation_result": "text"}, 0),
    ],
)
def test_incomplete_results(result, rejected):
    """What an older server, or a failed import, leaves out."""
    done = job(import_result=result)
    assert done.counts == {"created": 0, "updated": 0, "skipped": 0, "rejected": rejected}
    assert all(str(rejection) for rejection in done.rejections)


@pytest.mark.parametrize("odd", ["many", [], {}, True, -1, float("inf"), float("nan"), 10**400])
def test_odd_counts_are_zero(odd):
    """They say nothing about whether the import is over."""
    result = {"records_created": odd, "records_updated": odd, "records_skipped": odd}
    done = job(import_result={**result, "validation_result": {"failed": odd, "errors": [ERROR]}})
    assert done.state is JobState.SUCCEEDED
    assert done.counts == {"created": 0, "updated": 0, "skipped": 0, "rejected": 1}, "those that it lists"


@pytest.mark.parametrize("odd", [5, "many", True, {"a": 1}])
def test_odd_errors_are_ignored(odd):
    """What is not a list of errors has none."""
    done = job(import_result={"validation_result": {"errors": odd}})
    assert (done.counts["rejected"], done.rejections) == (0, ())


def test_a_huge_rejected_value_is_cut():
    """It goes to a log."""
    errors = [{**ERROR, "value": "x" * 100_000}]
    assert len(job(import_result={"validation_result": {"errors": errors}}).rejections[0].value) == 100


def test_a_real_import_with_rejected_rows(run, sluice_sandbox):
    """The sandbox turns one of two rows away; the import is over and not failed."""
    sluice_sandbox.settings(rejected_rows=1)
    import_id = run(kal.push_by_field_name(["symbol"], [H, HE]))
    done = run(kal.JOB_TYPES["import"].get_status(import_id, {}))
    assert done.state is JobState.SUCCEEDED
    assert done.counts == {"created": 1, "updated": 0, "skipped": 1, "rejected": 1}
    assert done.rejections[0].row == "H"


def test_a_real_import_that_fails(run, sluice_sandbox):
    """As a whole, with a message."""
    sluice_sandbox.settings(fail_imports=1)
    done = run(kal.JOB_TYPES["import"].get_status(run(kal.push_by_field_name(["symbol"], [H])), {}))
    assert done.state is JobState.FAILED
    assert done.message
    assert held(sluice_sandbox)["records"] == []
