"""What a push sends: batches, both generations of the API, every kind of input; and what it returns."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from airflow.sdk.execution_time.context import TaskStateStoreAccessor

from sluice_provider.apis import checked_rows as rows
from sluice_provider.errors import InvalidInput, RowsRejected, TooLarge
from sluice_provider.jobs import execution
from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_provider.sources import spool
from sluice_sandbox.kaleidoscope.fields import stable_id
from tests.operators.airflow_harness import ELEMENTS, UNKNOWN, file_changes

pytestmark = pytest.mark.airflow

SYMBOL, NAME = stable_id("key_field", "symbol"), stable_id("data_field", "name")
VIEW, OPERATION, PROGRAM, SOURCE = (stable_id(name) for name in ("record_view", "operation", "program", "source"))
BY_ID = {"key_field_names": None, "key_field_ids": [SYMBOL], "records": [{SYMBOL: "H", NAME: "Hydrogen"}]}


# --- batches


@pytest.mark.parametrize(("size", "batches"), [(1, 3), (2, 2), (3, 1), (1000, 1)])
def test_batch_size_limits_rows(push, service, size, batches):
    """So many records in one request, and all of them in one result."""
    task = push(batch_size=size).run()
    assert len(service.pushes) == len(service.imports) == batches
    assert [symbol for batch in service.sent for symbol in batch] == ["H", "He", "Li"]
    assert task.result["import_ids"] == service.imports
    assert (task.result["pushed"], task.result["created"]) == (3, 3)


def test_max_bytes_limits_batches(push, service):
    """No request is larger than `max_bytes`."""
    records = [{"symbol": f"S{number}", "name": "x" * 3000} for number in range(10)]
    task = push(records=records, max_bytes=12_000).run()
    sizes = [each["body_size"] for each in service.requests() if "push/imports" in each["path"]]
    assert max(sizes) <= 12_000
    assert (len(sizes), task.result["created"]) == (5, 10)


def test_a_request_that_is_too_large_is_halved(push, service):
    """413 halves a batch until it fits, in order, and accepted halves are in the record."""
    service.settings(max_body_bytes=600)
    records = [{"symbol": f"S{number}", "name": "x" * 200} for number in range(8)]
    task = push(records=records).run()
    taken = [batch for batch in service.sent if len(batch) <= 2]
    assert [symbol for batch in taken for symbol in batch] == [f"S{number}" for number in range(8)]
    assert (task.state, task.result["created"], len(service.records)) == ("success", 8, 8)
    assert [each[1:] for each in task.phase.submissions] == [(0, 2), (2, 2), (4, 2), (6, 2)]
    assert task.logged("WARNING", "submitting these 8 rows in two halves")


def test_one_record_that_is_too_large_fails(push, service):
    """It cannot be halved, and another try would not make it smaller."""
    service.settings(max_body_bytes=600)
    task = push(records=[{"symbol": "H", "name": "x" * 50}, {"symbol": "He", "name": "x" * 900}]).run()
    assert (task.state, type(task.error)) == ("failed", TooLarge)
    assert service.sent == [["H", "He"], ["H"], ["He"]]


# --- the wire, by name, by source, by id


def members(push):
    """What a push holds beside the records."""
    return {name: value for name, value in push.items() if name != "data"}


@pytest.mark.parametrize(
    ("args", "path", "body"),
    [
        ({}, "", {"key_field_names": ["symbol"]}),
        ({"source_id": SOURCE}, f"/{SOURCE}", {"key_field_names": ["symbol"]}),
        (
            {"operation_id": OPERATION, "program_id": PROGRAM, "set_name": "Elements"},
            "",
            {
                "key_field_names": ["symbol"],
                "operation_id": OPERATION,
                "program_id": PROGRAM,
                "set_name": "Elements",
            },
        ),
        (
            {"operation_id": OPERATION, "record_view_id": VIEW, "add_fields_to_record_view_ids": [VIEW]},
            "",
            {
                "key_field_names": ["symbol"],
                "operation_id": OPERATION,
                "record_view_id": VIEW,
                "add_fields_to_record_view_ids": [VIEW],
            },
        ),
        ({"record_view_ids": [VIEW]}, "", {"key_field_names": ["symbol"], "record_view_ids": [VIEW]}),
        (BY_ID, "/by-field-id", {"key_field_ids": [SYMBOL], "record_view_ids": []}),
        (
            {**BY_ID, "record_view_ids": [VIEW], "operation_id": OPERATION},
            "/by-field-id",
            {"key_field_ids": [SYMBOL], "record_view_ids": [VIEW], "operation_id": OPERATION},
        ),
    ],
    ids=["by name", "by source", "target", "newer view", "older views", "by field id", "by field id, views"],
)
def test_only_given_arguments_are_sent(push, service, args, path, body):
    """The members of the JSON body, exactly, and the path."""
    task = push(**args).run()
    [request] = [each for each in service.requests() if "push/imports" in each["path"]]
    assert request["path"] == f"/kaleidoscope/push/imports{path}"
    assert members(request["json"]) == body
    assert task.state == "success"


def test_record_view_ids_without_effect_are_warned_about(push):
    """`record_view_ids` by name does nothing on current servers."""
    assert push(record_view_ids=[VIEW]).run().logged("WARNING", "record_view_ids has no effect")


# --- input


def write_elements(kind, path):
    """The elements in a file of this kind."""
    text = "symbol,name,atomic_number\n" + "".join(
        f"{e['symbol']},{e['name']},{e['atomic_number']}\n" for e in ELEMENTS
    )
    lines = "".join(json.dumps(element) + "\n" for element in ELEMENTS)
    contents = {"csv": text.encode(), "json": json.dumps(ELEMENTS).encode(), "jsonl": lines.encode()}
    contents["csv.gz"] = gzip.compress(contents["csv"])
    if kind == "parquet":
        import pyarrow
        from pyarrow.parquet import write_table

        write_table(pyarrow.Table.from_pylist(ELEMENTS), path)
    else:
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "json", "jsonl", "parquet"])
def test_a_file_is_pushed(push, service, tmp_path, sluice_sandbox, kind):
    """Each kind ends as the same records."""
    path = write_elements(kind, tmp_path / f"elements.{kind}")
    task = push(records=f"file://{path}" if kind == "csv" else str(path), batch_size=2).run()
    assert (task.state, len(service.imports), task.result["created"]) == ("success", 2, 3)
    records = sluice_sandbox.state()["kaleidoscope"]["records"]
    assert {record["values"]["name"]: record["values"]["atomic_number"] for record in records} == {
        "Hydrogen": 1,
        "Helium": 2,
        "Lithium": 3,
    }


# --- the result

RESULT = {
    "service": "kaleidoscope",
    "state": "succeeded",
    "pushed": 3,
    "created": 3,
    "updated": 0,
    "skipped": 0,
    "rejected": 0,
}
NAMES = {*RESULT, "import_ids", "submitted_at", "ended_at", "seconds", "url"}


def way(name, task):
    """Run a push to its end in one of the ways it may go."""
    if name == "retried":
        with task.death("all written"):
            task.run()
        task.retry()
    elif name == "crashed":
        task.defer().fail_trigger().run()
    else:
        task.run()
    return task


@pytest.mark.parametrize("name", ["plain", "deferred", "retried", "crashed"])
def test_the_result_does_not_depend_on_how_the_task_waits(push, service, name):
    """The manifest has the same members and the same counts, however the task came to its end."""
    task = way(name, push(deferrable=name in ("deferred", "crashed")))
    assert set(task.result) == NAMES
    assert {member: task.result[member] for member in RESULT} == RESULT
    assert task.result["import_ids"] == service.imports
    assert task.result["ended_at"] > task.result["submitted_at"]
    assert 2.5 < task.result["seconds"] < 9


def test_result_without_waiting(push, service, clock):
    """Accepted is enough; the ids are for a sensor."""
    task = push(wait_for_completion=False).run()
    assert (task.state, clock.sleeps, service.polls) == ("success", [], 0)
    assert task.result["import_ids"] == service.imports
    assert (task.result["state"], task.result["pushed"], task.result["ended_at"]) == ("running", 3, None)
    assert "created" not in task.result


# --- rejected rows


@pytest.mark.parametrize(("policy", "state"), [("fail", "failed"), ("warn", "success"), ("ignore", "success")])
def test_rejected_rows(push, service, policy, state):
    """Some rows are rejected, the others are imported, and the author says what that means."""
    service.settings(rejected_rows=2)
    task = push(on_rejected_rows=policy, deferrable=True).run()
    assert task.state == state
    assert list(service.records) == ["Li"]
    lines = [line for line in task.log if "Rejected:" in line]
    assert len(lines) == (0 if policy == "ignore" else 2)
    if lines:
        assert "row H: name='Hydrogen': invalid_format" in lines[0]
    if policy == "fail":
        assert isinstance(task.error, RowsRejected)
        assert "2 rows were rejected" in str(task.error)
    else:
        assert (task.result["rejected"], task.result["created"]) == (2, 1)


def test_many_rejected_rows_are_counted(push, service):
    """The log shows the first ones, and how many there were."""
    service.settings(rejected_rows=30)
    task = push(records=[{"symbol": f"S{n}", "name": "x"} for n in range(40)], on_rejected_rows="warn").run()
    assert sum("Rejected:" in line for line in task.log) == 20
    assert task.logged("WARNING", "30 rows were rejected in all")


# --- bad arguments

BAD = {
    "no records": ({"records": []}, "has no records to push"),
    "text of a list": ({"records": "[{'symbol': 'H'}]"}, "records is a string that contains a list"),
    "one dict": ({"records": {"symbol": "H"}}, "must be a list of dicts"),
    "not dicts": ({"records": ["H"]}, "'H' has no file extension"),
    "empty path": ({"records": " "}, "records is empty"),
    "unknown file": ({"records": "elements.xlsx"}, "unsupported file extension"),
    "no file": ({"records": "nowhere/elements.csv"}, "no such file"),
    "no key": ({"records": [{"symbol": "H"}, {"name": "Helium"}]}, "record 2 has no value for the key field symbol"),
    "null key": ({"records": [{"symbol": None}]}, "record 1 has no value for the key field symbol"),
    "nameless field": ({"records": [{"symbol": "H", "": 1}]}, "a field without a name"),
    "not JSON": ({"records": [{"symbol": "H", "at": object()}]}, "record 1"),
    "large record": ({"records": [{"symbol": "H", "name": "x" * 9000}], "max_bytes": 12_000}, "max_bytes=12000 allows"),
    "no key fields": ({"key_field_names": None}, "key_field_names"),
    "both key fields": ({"key_field_ids": ["x"]}, "key_field_ids"),
    "key fields as text": ({"key_field_names": "symbol"}, "key_field_names must be a list of strings"),
    "no key field named": ({"key_field_names": []}, "key_field"),
    "key field twice": ({"key_field_names": ["symbol", "symbol"]}, "twice"),
    "empty source": ({"source_id": ""}, "source_id must be a non-empty id"),
    "reserved source": ({"source_id": "by-field-id"}, "source_id cannot be"),
    "source by id": ({**BY_ID, "source_id": SOURCE}, "source_id goes with key_field_names only"),
    "view by id": ({**BY_ID, "record_view_id": VIEW}, "record_view_id goes with key_field_names only"),
    "view without operation": ({"record_view_id": VIEW}, "record_view_id needs an operation_id"),
    "operation not text": ({"operation_id": 7}, "operation_id must be a non-empty id"),
    "unknown policy": ({"on_rejected_rows": "shrug"}, "on_rejected_rows must be"),
    "no batch": ({"batch_size": 0}, "batch_size must be"),
    "true batch": ({"batch_size": True}, "batch_size must be"),
    "tiny requests": ({"max_bytes": 1000}, "max_bytes must be a whole number of at least"),
}


@pytest.mark.parametrize(("args", "words"), BAD.values(), ids=BAD)
def test_bad_arguments(service, sluice_connections, args, words):
    """Refused in words that name what is wrong, before the service hears of it, and not worth another try."""
    operator = KaleidoscopePushOperator(task_id="push", **{"records": ELEMENTS, "key_field_names": ["symbol"], **args})
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="push", map_index=-1, max_tries=3, xcom_push=None)
    with pytest.raises(InvalidInput, match=words) as refused:
        operator.execute({"ti": ti, "dag_run": SimpleNamespace(clear_number=0), "task_state_store": Store()})
    assert not refused.value.retryable
    assert service.requests() == []


class Store(dict):
    """A task state store without a database behind it."""

    set = dict.__setitem__


def test_values_without_a_json_form_are_rejected_before_sending(push, service, tmp_path):
    """All records are read once before the first is sent."""
    path = tmp_path / "elements.jsonl"
    path.write_text('{"symbol": "H"}\n{"symbol": "He", "weight": NaN}\n')
    task = push(records=str(path), batch_size=1).run()
    assert "line 2" in str(task.error)
    assert (task.state, service.requests()) == ("failed", [])


# --- what was checked is what is sent


@pytest.fixture
def on_request(monkeypatch):
    """Something that happens right before each request to the service."""

    def install(happens):
        original = httpx.Client.send

        def send(self, request, **more):
            if "/kaleidoscope/" in str(request.url):
                happens(request)
            return original(self, request, **more)

        monkeypatch.setattr(httpx.Client, "send", send)

    return install


@pytest.mark.parametrize("then", ["symbol,name\nH,Deuterium\n,Nothing\nHe,x\nLi,x\n", None], ids=["others", "gone"])
def test_a_source_that_changes_while_it_is_pushed(push, service, tmp_path, then):
    """Rows that were never checked are not sent, and those that were are sent as they were."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\nHe,Helium\nLi,Lithium\n")
    with file_changes(path, then):
        task = push(records=str(path), batch_size=2).run()
    assert task.state == "success", task.error
    assert [record["name"] for each in service.pushes for record in each["data"]] == ["Hydrogen", "Helium", "Lithium"]


def test_a_source_that_was_changed_between_two_tries(push, service, tmp_path):
    """It is other work by then: all of it is checked and sent."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\nHe,Helium\n")
    task = push(records=str(path), batch_size=1)
    with task.death("job written"):
        task.run()
    path.write_text("symbol,name\nH,Hydrogen\nLi,Lithium\n")
    task.retry()
    assert (task.state, service.sent) == ("success", [["H"], ["H"], ["Li"]])
    assert task.result["replaced_jobs"][0]["id"] == service.imports[0]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
@pytest.mark.parametrize("death", [None, "after submitting"], ids=["success", "death"])
def test_the_spool_leaves_no_file(push, temporary, on_request, deferrable, death):
    """Neither while it is open nor afterwards, however the process ends."""
    seen = []
    on_request(lambda _: seen.append(list(temporary.iterdir())))
    task = push(deferrable=deferrable)
    if death:
        with task.death(death):
            task.run()
    else:
        task.run()
    assert seen
    assert not any(seen)
    assert list(temporary.iterdir()) == []


def test_no_disk_space_for_the_spool(push, service, temporary, monkeypatch):
    """Is found out before anything is sent, and another try may find some."""
    monkeypatch.setattr(spool, "TemporaryFile", lambda **_: Path("/dev/full").open("w+b"))  # noqa: SIM115
    task = push().run()
    assert (task.state, type(task.error), service.requests()) == ("up_for_retry", InvalidInput, [])
    assert f"temporary file in {temporary}, which is done before any is sent: No space left on device" in str(
        task.error
    )


def test_a_retry_needs_the_source(push, service, tmp_path):
    """All of it was submitted, and the import failed: to submit it again, the source is needed."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\n")
    service.settings(fail_imports=1)
    task = push(records=str(path)).run()
    other = path.rename(tmp_path / "elsewhere.csv")
    task.retry()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert "no such file" in str(task.error)
    assert task.history("error")[-1].startswith("InvalidInput")
    other.rename(path)
    task.clear().run()
    assert (task.state, service.sent) == ("success", [["H"], ["H"]])


# --- what an earlier try submitted is not checked again


@pytest.fixture
def checked(monkeypatch):
    """How many rows were checked and encoded, in each reading of the source."""
    counts = []
    read, encode = rows.CheckedRows._spool, rows.encode_rows

    def begin(self, skip=0):
        counts.append(0)
        return read(self, skip)

    def count(chunk, *more, **options):
        counts[-1] += len(chunk)
        return encode(chunk, *more, **options)

    monkeypatch.setattr(rows.CheckedRows, "_spool", begin)
    monkeypatch.setattr(rows, "encode_rows", count)
    return counts


SYMBOLS = ["H", "He", "Li", "Be", "B", "C"]


@pytest.fixture
def file(tmp_path):
    """Six records in a file, which one task pushes one by one."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\n" + "".join(f"{symbol},Element {symbol}\n" for symbol in SYMBOLS))
    return path


def test_a_retry_checks_only_what_is_left(push, service, file, checked):
    """If the file has not changed."""
    task = push(records=str(file), batch_size=1, max_in_flight=1)
    with task.death("after submitting", nth=5):
        task.run()
    task.retry()
    assert (task.state, checked) == ("success", [6, 2])
    assert [symbol for batch in service.sent for symbol in batch] == [*SYMBOLS[:5], "B", "C"]
    assert (len(task.result["import_ids"]), task.result["pushed"]) == (6, 6)
    assert task.logged("INFO", "Checked 6 records in ", "the first 4 of which were submitted before")


def test_a_retry_that_only_waits_checks_nothing(push, service, file, checked):
    """All was submitted."""
    task = push(records=str(file))
    with task.death("publishing"):
        task.run()
    task.retry()
    assert (task.state, checked, service.sent) == ("success", [6, 0], [SYMBOLS])


@pytest.mark.parametrize(
    "content", ["symbol,name\nHe,Helium\n", "symbol,name\n" + "".join(f"{symbol}*,x\n" for symbol in SYMBOLS)]
)
def test_a_retry_checks_a_changed_file_whole(push, service, file, checked, content):
    """It is other work by then."""
    task = push(records=str(file), batch_size=1, max_in_flight=1)
    with task.death("after submitting", nth=3):
        task.run()
    file.write_text(content)
    task.retry()
    left = content.count("\n") - 1
    assert (task.state, checked[0], checked[-1]) == ("success", 6, left)
    assert len(service.sent) == 3 + left
    assert len(task.result["import_ids"]) == left


def test_a_cleared_task_checks_all_again(push, service, file, checked):
    """It submits all rows again, of which none is left out."""
    task = push(records=str(file)).run()
    task.clear().run()
    assert (task.state, service.sent, checked) == ("success", [SYMBOLS, SYMBOLS], [6, 0, 6])


def test_a_failed_import_is_pushed_again_from_the_file(push, service, file):
    """Its rows were submitted before, so they were left out at first."""
    service.settings(fail_imports=1)
    task = push(records=str(file), batch_size=3, max_in_flight=1).run()
    assert task.state == "up_for_retry"
    task.retry()
    assert (task.state, service.sent) == ("success", [SYMBOLS[:3], SYMBOLS[3:], SYMBOLS[:3]])


@pytest.mark.parametrize("then", ["symbol,name\nH,Deuterium\n", None], ids=["others", "gone"])
def test_a_file_that_changes_while_a_retry_reads_it(push, service, file, then):
    """The rows of a failed import are needed once more, and are there no more: no others are sent in their place."""
    service.settings(fail_imports=1)
    task = push(records=str(file), batch_size=3, max_in_flight=1).run()
    with file_changes(file, then):
        task.retry()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert "no such file" in str(task.error) or "has changed since this task began to read it" in str(task.error)
    assert service.sent == [SYMBOLS[:3], SYMBOLS[3:]]


# --- several requests in flight


def test_requests_in_flight_are_retried_by_themselves(push, service, monkeypatch):
    """Rate limited, lost before and after the work: every row arrives, the result names the imports in the order of the
    rows, and each of them once."""
    monkeypatch.setattr(execution, "GROUP_SAVE_INTERVAL_SECONDS", 60.0)
    service.inject_fault("POST", "push/imports", status=429, headers={"Retry-After": "3"}, times=3)
    service.inject_fault("POST", "push/imports", drop="after", times=2)
    records = [{"symbol": f"S{number}"} for number in range(20)]
    task = push(records=records, batch_size=1, max_in_flight=4).run()
    assert (task.state, task.result["pushed"], len(service.records)) == ("success", 20, 20)
    assert len(set(task.result["import_ids"])) == 20
    assert [each.start for each in task.phase.submissions] == list(range(20))
    assert sum(service.records.values()) <= 22


def test_after_an_error_no_request_is_begun(push, service, monkeypatch):
    """What was in flight is in the record, and the retry pushes the rest."""
    monkeypatch.setattr(execution, "GROUP_SAVE_INTERVAL_SECONDS", 60.0)
    service.inject_fault("POST", "push/imports", status=500, times=10, skip=7)
    records = [{"symbol": f"S{number}"} for number in range(30)]
    task = push(records=records, batch_size=1, max_in_flight=2).run()
    assert task.state == "up_for_retry"
    assert 0 < len(task.phase.submissions) == len(service.imports) < 30
    task.retry()
    assert (task.state, len(service.imports), set(service.records.values())) == ("success", 30, {1})


@pytest.mark.parametrize("number", [0, 21, "8", 1.5, True, None])
def test_max_in_flight_is_checked(push, service, number):
    """Before anything is sent."""
    task = push(max_in_flight=number).run()
    assert (type(task.error), service.requests()) == (InvalidInput, [])
    assert "max_in_flight must be a whole number from 1 to 20" in str(task.error)


# --- written in groups


class ValuesRecorder(list):
    """Sizes of what is written of the record."""

    def __init__(self, monkeypatch):
        original = TaskStateStoreAccessor.set

        def write(accessor, key, value, **more):
            if key.startswith("sluice_record"):
                self.append(len(json.dumps(value)))
            return original(accessor, key, value, **more)

        monkeypatch.setattr(TaskStateStoreAccessor, "set", write)


def test_many_batches_cost_few_writes(push, service, monkeypatch):
    """A repeated push does no harm, so what was accepted is written down about once a second, not batch by batch."""
    values = ValuesRecorder(monkeypatch)
    monkeypatch.setattr(execution, "GROUP_SAVE_INTERVAL_SECONDS", 60.0)
    records = [{"symbol": f"S{number}"} for number in range(100)]
    task = push(records=records, batch_size=1).run()
    assert (task.state, len(service.imports), len(task.result["import_ids"])) == ("success", 100, 100)
    assert len(values) < 30
    assert max(values) < 16_000


def test_process_death_between_grouped_writes(push, service, monkeypatch):
    """What was not written down yet is pushed again, which updates the same records."""
    monkeypatch.setattr(execution, "GROUP_SAVE_INTERVAL_SECONDS", 60.0)
    task = push(batch_size=1, max_in_flight=1)
    with task.death("after submitting", nth=2):
        task.run()
    task.retry()
    assert (task.state, service.sent) == ("success", [["H"], ["He"], ["H"], ["He"], ["Li"]])
    assert len(service.records) == 3
    assert task.result["import_ids"] == service.imports[2:]


# --- not durable


def test_without_durability_a_retry_submits_again(push, service):
    """As the author said; the record of the try before is not read."""
    task = push(durable=False)
    with task.death("publishing"):
        task.run()
    task.retry()
    assert (task.state, service.sent) == ("success", [["H", "He", "Li"]] * 2)
    assert task.result["import_ids"] == service.imports[1:]
    assert "replaced_jobs" not in task.result


@pytest.mark.parametrize("name", ["poll_interval", "timeout"])
@pytest.mark.parametrize("value", [0, -1, "soon", True, float("nan")])
def test_bad_durations(name, value):
    """Refused where the DAG is read."""
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds"):
        KaleidoscopePushOperator(task_id="push", records=ELEMENTS, key_field_names=["symbol"], **{name: value})


def test_unknown_ids_are_rejected_by_the_service(push, service):
    """The service's own words reach the user, and the task is not tried again."""
    task = push(operation_id=UNKNOWN).run()
    assert (task.state, service.imports) == ("failed", [])
    assert f"Operation {UNKNOWN} not found" in str(task.error)
