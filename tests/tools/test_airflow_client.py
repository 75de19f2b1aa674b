"""The demo's requests to Airflow and to the sandbox, when one of these answers 5xx, drops the connection or is slow."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_standalone
import demo
from airflow_standalone import Standalone
from tests.loopback import Answer, Loopback, Request, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCKED = Answer(500, "database is locked")


class DroppedError(Exception):
    """Raised by a fault: the server closes the connection and answers nothing."""


def answer_500(_request: Request, _work: Callable[[], Answer]) -> Answer:
    """Do nothing, and say so."""
    return LOCKED


def answer_500_after_work(_request: Request, work: Callable[[], Answer]) -> Answer:
    """Do the work, and deny it."""
    work()
    return LOCKED


def drop(_request: Request, _work: Callable[[], Answer]) -> Answer:
    """Do nothing, and hang up."""
    raise DroppedError


def drop_after_work(_request: Request, work: Callable[[], Answer]) -> Answer:
    """Do the work, and hang up."""
    work()
    raise DroppedError


FAULTS = [answer_500, answer_500_after_work, drop, drop_after_work]


class Server:
    """Just enough of Airflow's API and the sandbox's control API, with faults for the first so many requests."""

    def __init__(self, faults: dict[str, list[Any]]) -> None:
        self.faults = faults
        self.paused = True
        self.runs: list[str] = []
        self.files: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        """Answer, or fail first."""
        with self._lock:
            pending = self.faults.get(request.method)
            fault = pending.pop(0) if pending else None
            return fault(request, lambda: self._work(request)) if fault else self._work(request)

    def _work(self, request: Request) -> Answer:
        body = json.loads(request.body or "{}")
        path = request.target.partition("?")[0].removeprefix("/api/v2/").strip("/")
        if request.method == "PATCH":
            self.paused = body["is_paused"]
            return Answer(200, {"is_paused": self.paused})
        if path == "dags/d/dagRuns" and request.method == "POST":
            return self._start(body)
        if path.startswith("dags/d/dagRuns/"):
            run_id = path.rpartition("/")[2]
            return Answer(200, {"dag_run_id": run_id}) if run_id in self.runs else Answer(404, {"detail": "no run"})
        return self._control(request, path, body)

    def _start(self, body: Any) -> Answer:
        run_id = body.get("dag_run_id") or f"chosen by the server {len(self.runs)}"
        if run_id in self.runs or body.get("conf") == {"conflict": True}:
            return Answer(409, {"detail": "a run with this id or logical date exists"})
        self.runs.append(run_id)
        return Answer(200, {"dag_run_id": run_id})

    def _control(self, request: Request, path: str, body: Any) -> Answer:
        if path == "control/kaleidoscope/registrations":
            self.files.append(body["file_name"])
        files = [{"id": f"f{at}", "name": name} for at, name in enumerate(["compounds.csv", *self.files])]
        registrations = [{"file_id": file["id"]} for file in files[1:]]
        return Answer(200, {"kaleidoscope": {"files": files, "registrations": registrations, "webhooks": []}})


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, **faults: list[Any]) -> Iterator[tuple[Server, Loopback]]:
    """Serve; whoever asks for a free port is led here."""
    server = Server(faults)
    with serve(server) as loopback:
        port = int(loopback.address.rpartition(":")[2])
        for module in (airflow_standalone, demo):
            monkeypatch.setattr(module, "free_ports", lambda count: [port] * count)
        yield server, loopback


def attempts(loopback: Loopback, method: str) -> int:
    """How many requests with this method arrived."""
    return sum(request.method == method for request in loopback.seen)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_dag_is_unpaused_by_a_server_that_fails_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Any, times: int
) -> None:
    """SQLite is locked for a moment, and Airflow answers 500 or hangs up: the request is repeated."""
    with serving(monkeypatch, PATCH=[fault] * times) as (server, loopback):
        Standalone(tmp_path, home=tmp_path).unpause("d")
    assert server.paused is False
    assert attempts(loopback, "PATCH") == times + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_is_read_from_a_server_that_fails_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Any
) -> None:
    """Reading is repeated, too."""
    with serving(monkeypatch, GET=[fault, fault]) as (server, loopback):
        server.runs.append("r")
        assert Standalone(tmp_path, home=tmp_path).run("d", "r") == {"dag_run_id": "r"}
    assert attempts(loopback, "GET") == 3


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", [1, 2])
def test_exactly_one_run_is_triggered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Any, times: int) -> None:
    """Whether or not the request that got no answer had started the run."""
    with serving(monkeypatch, POST=[fault] * times) as (server, _):
        run_id = Standalone(tmp_path, home=tmp_path).trigger("d")
    assert server.runs == [run_id]


def test_a_slow_server_starts_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The answer takes longer than the client waits for it."""

    def slow(_request: Request, work: Callable[[], Answer]) -> Answer:
        answer = work()
        time.sleep(1.0)
        return answer

    with serving(monkeypatch, POST=[slow]) as (server, _):
        airflow = Standalone(tmp_path, home=tmp_path)
        airflow._client._timeout = 0.5
        run_id = airflow.trigger("d")
    assert server.runs == [run_id]


def test_a_run_that_exists_by_now_is_not_triggered_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first request arrives after it was looked for, and the second is answered 409: one run, and no error."""
    late: list[Any] = []

    def late_work(_request: Request, work: Callable[[], Answer]) -> Answer:
        late.append(work)
        raise DroppedError

    def work_of_both(_request: Request, work: Callable[[], Answer]) -> Answer:
        late.pop()()
        return work()

    with serving(monkeypatch, POST=[late_work, work_of_both]) as (server, loopback):
        run_id = Standalone(tmp_path, home=tmp_path).trigger("d")
    assert (server.runs, attempts(loopback, "POST")) == ([run_id], 2)


def test_a_conflict_with_another_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow answers 409 also when a run with another id has the same logical date."""
    with serving(monkeypatch) as (server, loopback):
        airflow = Standalone(tmp_path, home=tmp_path)
        with pytest.raises(RuntimeError, match="409"):
            airflow.trigger("d", {"conflict": True})
    assert (server.runs, attempts(loopback, "POST")) == ([], 1)


def test_what_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A 404 says so at once."""
    with serving(monkeypatch) as (_, loopback):
        with pytest.raises(RuntimeError, match=r"GET http://.*/dags/d/dagRuns/r failed, tried once\. .*404"):
            Standalone(tmp_path, home=tmp_path).run("d", "r")
        assert attempts(loopback, "GET") == 1


def test_a_request_fails_after_its_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message says what failed, how often it was tried, and what was answered last."""
    with serving(monkeypatch, PATCH=[answer_500] * 99) as (_, loopback):
        airflow = Standalone(tmp_path, home=tmp_path)
        airflow._client.deadline = 1.0
        message = r"^Airflow: PATCH http://127.*/api/v2/dags/d failed, tried 3 times in 1 s\. Last answer: 500 .*locked"
        with pytest.raises(RuntimeError, match=message):
            airflow.unpause("d")
    assert attempts(loopback, "PATCH") == 3


def test_no_retry_when_the_server_process_has_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow's process has ended: there is nothing to wait for."""
    with serving(monkeypatch):
        airflow = Standalone(tmp_path, home=tmp_path)
    airflow._client._gone = lambda: True
    with pytest.raises(RuntimeError, match=r"tried once; Airflow has ended\. Last answer: none \(ConnectError"):
        airflow.unpause("d")


def test_other_posts_are_not_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To clear tasks twice would run them twice: without an answer, nobody knows whether they are cleared."""
    with serving(monkeypatch, POST=[drop_after_work]) as (_, loopback):
        with pytest.raises(RuntimeError, match="tried once"):
            Standalone(tmp_path, home=tmp_path).clear("d", "r")
        assert attempts(loopback, "POST") == 1


class NoProgram:
    """In place of the sandbox's process."""

    running = True

    def __init__(self, *_: Any, **__: Any) -> None:
        """Start nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files to hand in; the sandbox has one with the name of the first from the beginning."""
    for name in ("compounds.csv", "plates.csv"):
        (tmp_path / name).write_text("name\nA\n")
    return tmp_path


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_each_file_is_registered_once(monkeypatch: pytest.MonkeyPatch, folder: Path, fault: Any, at: int) -> None:
    """Whichever request to the sandbox fails, before or after it was done."""
    monkeypatch.setattr(demo, "Program", NoProgram)
    with serving(monkeypatch, POST=[None] * at + [fault]) as (server, _):
        demo.Sandbox(folder, 1.0).register_files(folder, "http://127.0.0.1:1", "secret")
    assert server.files == ["compounds.csv", "plates.csv"]


def test_requests_to_the_sandbox_are_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each request of the demo to it is repeated."""
    monkeypatch.setattr(demo, "Program", NoProgram)
    with serving(monkeypatch, GET=[answer_500, drop, None, drop]) as (_, loopback):
        sandbox = demo.Sandbox(tmp_path, 1.0)
        assert sandbox.webhooks_pending() is False
        assert sandbox.trees() == {}
    assert attempts(loopback, "GET") == 5
