"""The errors: each crosses a process with all it knows, and says whether trying again can help."""

from __future__ import annotations

import pickle

import pytest

from sluice_provider import errors
from sluice_provider.errors import REFUSALS, Answered, ClientError, SluiceError, Unreachable


def _below(kind):
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _below(child))]


# Other modules may add kinds of their own; those are theirs to test.
TREE = [kind for kind in dict.fromkeys(_below(SluiceError)) if kind.__module__ == errors.__name__]
HOPELESS = {
    "InvalidInput",
    "InvalidConnection",
    "ClientError",
    "AuthenticationFailed",
    "PermissionDenied",
    "NotFound",
    "Conflict",
    "TooLarge",
    "OutcomeUnknown",
    "SafetyLimitExceeded",
    "RowsRejected",
}


@pytest.mark.parametrize("kind", TREE)
def test_errors_pickle(kind):
    """Type, words and every attribute, also one that was set afterwards."""
    facts = {}
    if issubclass(kind, Answered):
        facts = {"status": 418, "code": "TEAPOT", "body": "short and stout", "retry_after": 1.5}
        facts |= {"request_id": "r-1", "path": "a.b"}
    if issubclass(kind, Unreachable):
        facts = {"sent": False}
    error = kind("words", **facts)
    error.noted = "later"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), vars(again)) == ("words", {**facts, "noted": "later"})


@pytest.mark.parametrize("kind", TREE)
def test_hopeless(kind):
    """What a retry with the same input cannot cure, and nothing else."""
    assert kind("").hopeless == (kind.__name__ in HOPELESS)


def test_the_tree_is_drawn():
    """Every error that is raised stands in the drawing at the top of the module, and nothing else does."""
    words = errors.__doc__.split()
    assert [kind.__name__ for kind in TREE if kind is not Answered and kind.__name__ not in words] == []
    drawn = [line.split("──")[1].split()[0] for line in errors.__doc__.splitlines() if "──" in line]
    assert sorted(drawn) == sorted(kind.__name__ for kind in TREE if kind not in (SluiceError, Answered))


def test_refusals_by_status():
    """Each has one status, which its documentation begins with."""
    for status, kind in REFUSALS.items():
        assert issubclass(kind, ClientError)
        assert kind.__doc__.startswith(f"{status}: ")


def test_bad_input_is_a_value_error():
    """So that it can be caught without knowing this package."""
    assert issubclass(errors.InvalidConnection, ValueError)


def test_defaults():
    """An error that knows nothing says nothing."""
    assert SluiceError("").retry_after is None
    assert (Answered("").status, Answered("").code, Answered("").body) == (None, None, "")
    assert Unreachable("").sent
    assert errors.ServerError("").sent
