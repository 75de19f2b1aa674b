"""What a task's arguments must be for Kaleidoscope, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.errors import InvalidInput

POLICIES = ("fail", "warn", "ignore")
"""For rows that Kaleidoscope rejected."""


def check_ids(task: Any, *names: str) -> None:
    """:raises InvalidInput: one of these arguments is no id"""
    for name in names:
        value = getattr(task, name)
        if not isinstance(value, str) or not value.strip() or value == "None":
            raise InvalidInput(f"{name} must be an id, not {value!r}: was it taken from an XCom that is not there?")


def check_texts(task: Any, *names: str) -> None:
    """:raises InvalidInput: one of these arguments is there and no string"""
    for name in names:
        value = getattr(task, name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise InvalidInput(f"{name} must be a string that is not empty, or be left out; it is {value!r}")


def check_lists(task: Any, *names: str) -> None:
    """:raises InvalidInput: one of these arguments is there and no list of strings, each once"""
    for name in names:
        value = getattr(task, name)
        if value is not None:
            _check_list(name, value)


def _check_list(name: str, value: Any) -> None:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
        raise InvalidInput(f"{name} must be a list of strings that is not empty, or be left out; it is {value!r:.200}")
    if not all(isinstance(item, str) and item.strip() for item in value):
        raise InvalidInput(f"{name} must hold only strings that are not empty; it is {value!r:.200}")
    if len(set(value)) < len(value):
        raise InvalidInput(f"{name} names one of its items twice: {value!r:.200}")


def check_list_of_ids(task: Any, *names: str) -> None:
    """:raises InvalidInput: one of these arguments is there and no list of ids, each once"""
    check_lists(task, *names)
    for name in names:
        value = getattr(task, name) or ()
        if any("," in item or len(item.split()) > 1 for item in value):
            raise InvalidInput(f"{name} must hold one id in each string; it is {value!r:.200}")


def check_choice(task: Any, name: str, choices: Sequence[str]) -> None:
    """:raises InvalidInput: the argument is none of these words"""
    value = getattr(task, name)
    if value not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
