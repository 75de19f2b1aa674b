"""The errors: each crosses a process with all it knows, and says whether trying again can help."""

from __future__ import annotations

import pickle

import pytest

from sluice_provider import errors
from sluice_provider.errors import CLIENT_ERRORS, ClientError, SluiceError, StatusError, Unreachable


def _below(kind):
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _below(child))]


# Other modules may add kinds of their own; those are theirs to test.
TREE = [kind for kind in dict.fromkeys(_below(SluiceError)) if kind.__module__ == errors.__name__]
NOT_RETRYABLE = {
    "InvalidInput",
    "InvalidConnection",
    "AddressRefused",
    "ClientError",
    "AuthenticationFailed",
    "PermissionDenied",
    "NotFound",
    "Conflict",
    "TooLarge",
    "ResponseTooLarge",
    "OutcomeUnknown",
    "SafetyLimitExceeded",
    "RowsRejected",
}


@pytest.mark.parametrize("kind", TREE)
def test_errors_pickle(kind):
    """Class, message and every attribute, also one that was set afterwards."""
    facts = {}
    if issubclass(kind, StatusError):
        facts = {"status": 418, "code": "TEAPOT", "body": "short and stout", "retry_after": 1.5}
        facts |= {"request_id": "r-1", "path": "a.b"}
    if issubclass(kind, Unreachable):
        facts = {"maybe_applied": False}
    error = kind("words", **facts)
    error.noted = "later"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), vars(again)) == ("words", {**facts, "noted": "later"})


@pytest.mark.parametrize("kind", TREE)
def test_retryable(kind):
    """Whether a retry with the same input can help."""
    assert kind("").retryable == (kind.__name__ not in NOT_RETRYABLE)


def test_the_tree_is_drawn():
    """Every error that is raised is in the tree at the top of the module, and nothing else."""
    words = errors.__doc__.split()
    assert [kind.__name__ for kind in TREE if kind is not StatusError and kind.__name__ not in words] == []
    drawn = [line.split("──")[1].split()[0] for line in errors.__doc__.splitlines() if "──" in line]
    assert sorted(drawn) == sorted(kind.__name__ for kind in TREE if kind not in (SluiceError, StatusError))


def test_client_errors_by_status():
    """Each has one status, which its docstring starts with."""
    for status, kind in CLIENT_ERRORS.items():
        assert issubclass(kind, ClientError)
        assert kind.__doc__.startswith(f"{status}: ")


def test_invalid_input_is_a_value_error():
    """So that it can be caught without importing this package."""
    assert issubclass(errors.InvalidConnection, ValueError)


def test_defaults():
    """An error without details has none."""
    assert SluiceError("").retry_after is None
    assert (StatusError("").status, StatusError("").code, StatusError("").body) == (None, None, "")
    assert Unreachable("").maybe_applied
    assert errors.ServerError("").maybe_applied
