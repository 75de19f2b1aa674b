"""Checks of arguments, for all services: of a task's arguments before anything is sent, and of ids in API calls.

Each check has one wording, which names the argument, what it must be and what it is. All raise `InvalidInput`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.errors import InvalidInput

MISSING_SOURCE = ": the XCom, parameter or variable that it is taken from does not exist"
"""Why an id is None, or the string 'None', which is how a template renders None."""


def shown(value: object) -> str:
    """A value in an error message: cut, and with its type unless that is obvious."""
    text = f"{value!r:.200}"
    return text if value is None or isinstance(value, (str, bool, int, float)) else f"{text} ({type(value).__name__})"


def check_string(name: str, value: object) -> str:
    """A string, and not the string 'None'."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string, not {shown(value)}")
    if value == "None":
        raise InvalidInput(f"{name} is the string 'None'{MISSING_SOURCE}")
    return value


def check_text(name: str, value: object, *, optional: bool = False) -> None:
    """A string that is not blank; with `optional` also None."""
    if optional and value is None:
        return
    if not isinstance(value, str) or not value.strip():
        kind = "a non-empty string or None" if optional else "a non-empty string"
        raise InvalidInput(f"{name} must be {kind}, not {shown(value)}")


def check_id(name: str, value: object, *, optional: bool = False) -> str:
    """A string that is not blank, nor 'None'; with `optional` also None."""
    if optional and value is None:
        return ""
    if not isinstance(value, str) or not value.strip() or value == "None":
        hint = MISSING_SOURCE if value is None or value == "None" else ""
        raise InvalidInput(f"{name} must be a non-empty id, not {shown(value)}{hint}")
    return value


def check_strings(name: str, value: object, *, optional: bool = True, empty: bool = False) -> None:
    """A list of different strings, none of them blank; with `optional` also None.

    :param empty: the list may be empty
    """
    if optional and value is None:
        return
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence) or not (value or empty):
        kind = "a list of strings" if empty else "a non-empty list of strings"
        raise InvalidInput(f"{name} must be {kind}, not {shown(value)}")
    for index, item in enumerate(value):
        check_text(f"{name}[{index}]", item)
    if len(set(value)) < len(value):
        raise InvalidInput(f"{name} must not contain the same string twice: {shown(value)}")


def check_ids(name: str, value: object) -> None:
    """None, or a list of different ids, one in each string."""
    check_strings(name, value)
    for index, item in enumerate(value if isinstance(value, Sequence) else ()):
        check_id(f"{name}[{index}]", item)
        if "," in item or len(item.split()) > 1:
            raise InvalidInput(f"{name}[{index}] must be one id, not {shown(item)}: put each id in a string of its own")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """One of these strings."""
    if value not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(map(repr, choices))}, not {shown(value)}")


def check_whole_number(name: str, value: object, least: int, most: int | None = None) -> None:
    """An int within these limits, which are included."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    right = isinstance(value, int) and not isinstance(value, bool)
    if not (right and least <= value and (most is None or value <= most)):  # type: ignore[operator]
        raise InvalidInput(f"{name} must be a whole number {limits}, not {shown(value)}")


def check_exactly_one(**arguments: Any) -> None:
    """One of these arguments, and only one, is not None."""
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        names = " and ".join(arguments)
        found = f"{' and '.join(given)} were given" if given else "none was given"
        raise InvalidInput(f"give exactly one of {names}: {found}")
