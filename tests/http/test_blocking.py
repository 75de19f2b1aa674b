"""What blocks and is not a call of ours: done in place by the worker, in a thread by the triggerer."""

from __future__ import annotations

import threading

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.http.flow import Blocking
from tests.flows import FlowRunner


@pytest.fixture(params=["worker", "triggerer"])
def run(request):
    """Blocking and awaiting; nothing is sent."""
    return FlowRunner(request.param, {"base_url": "http://127.0.0.1:9/"})


def test_the_result_is_sent_into_the_flow(run):
    """Whatever it is; and the event loop is not blocked."""

    def flow():
        thread = yield Blocking(threading.current_thread)
        nothing = yield Blocking(lambda: None)
        return thread, nothing

    thread, nothing = run(flow())
    assert (thread is threading.main_thread(), nothing) == (run.name == "worker", None)


def test_an_error_is_thrown_into_the_flow(run):
    """The flow can catch it, or end with it."""

    def fail():
        raise InvalidInput("no such container")

    def flow():
        try:
            yield Blocking(fail)
        except InvalidInput as error:
            return f"caught: {error}"

    def careless():
        yield Blocking(fail)

    assert run(flow()) == "caught: no such container"
    with pytest.raises(InvalidInput, match="no such container"):
        run(careless())


def test_a_bug_is_not_hidden(run):
    """An exception that is not of this package ends the flow unchanged."""

    def flow():
        yield Blocking(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run(flow())
