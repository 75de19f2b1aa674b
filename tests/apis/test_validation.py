"""Checks of arguments: what each lets through, and its one wording."""

from __future__ import annotations

import pytest

from sluice_provider.apis.payloads import drop_none
from sluice_provider.apis.validation import (
    check_choice,
    check_exactly_one,
    check_id,
    check_ids,
    check_string,
    check_strings,
    check_text,
    check_whole_number,
)
from sluice_provider.errors import InvalidInput


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_string("x", 7), "x must be a string, not 7"),
        (lambda: check_string("x", "None"), "x is the string 'None': the XCom, parameter or variable"),
        (lambda: check_text("x", " "), "x must be a non-empty string, not ' '"),
        (lambda: check_text("x", "", optional=True), "x must be a non-empty string or None, not ''"),
        (lambda: check_id("x", ""), "x must be a non-empty id, not ''"),
        (lambda: check_id("x", ["a"]), "x must be a non-empty id, not ['a'] (list)"),
        (lambda: check_id("x", None), "x must be a non-empty id, not None: the XCom, parameter or variable"),
        (lambda: check_id("x", "None", optional=True), "x must be a non-empty id, not 'None': the XCom"),
        (lambda: check_strings("x", []), "x must be a non-empty list of strings, not [] (list)"),
        (lambda: check_strings("x", "a", empty=True), "x must be a list of strings, not 'a'"),
        (lambda: check_strings("x", None, optional=False), "x must be a non-empty list of strings, not None"),
        (lambda: check_strings("x", ["a", 1]), "x[1] must be a non-empty string, not 1"),
        (lambda: check_strings("x", ["a", "a"]), "x must not contain the same string twice"),
        (lambda: check_ids("x", ["a,b"]), "x[0] must be one id, not 'a,b'"),
        (lambda: check_ids("x", ["a", "b c"]), "x[1] must be one id, not 'b c'"),
        (lambda: check_ids("x", ["None"]), "x[0] must be a non-empty id, not 'None'"),
        (lambda: check_choice("x", "c", ("a", "b")), "x must be one of 'a', 'b', not 'c'"),
        (lambda: check_choice("x", ["a"], ("a", "b")), "x must be one of 'a', 'b', not ['a'] (list)"),
        (lambda: check_whole_number("x", 0, 1), "x must be a whole number of at least 1, not 0"),
        (lambda: check_whole_number("x", True, 1), "x must be a whole number of at least 1, not True"),
        (lambda: check_whole_number("x", 33, 1, 32), "x must be a whole number from 1 to 32, not 33"),
        (lambda: check_exactly_one(x=None, y=None), "give exactly one of x and y: none was given"),
        (lambda: check_exactly_one(x=1, y=2), "give exactly one of x and y: x and y were given"),
    ],
)
def test_invalid_arguments(check, message):
    """The error names the argument, what it must be and what it is."""
    with pytest.raises(InvalidInput) as error:
        check()
    assert str(error.value).startswith(message)


def test_valid_arguments():
    """None of these raises."""
    assert check_string("x", "") == ""
    assert check_id("x", "a") == "a"
    assert check_id("x", None, optional=True) == ""
    check_text("x", "a")
    check_text("x", None, optional=True)
    check_strings("x", None)
    check_strings("x", [], empty=True)
    check_ids("x", ("a", "b"))
    check_ids("x", None)
    check_choice("x", "a", ("a", "b"))
    check_whole_number("x", 32, 1, 32)
    check_exactly_one(x=None, y=0)


def test_members_without_a_value_are_dropped():
    """Only None is no value."""
    assert drop_none(a=None, b="", c=0, d=False, e="x") == {"b": "", "c": 0, "d": False, "e": "x"}
