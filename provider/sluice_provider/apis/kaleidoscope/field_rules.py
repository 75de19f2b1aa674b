"""Fields of records compared with those that Kaleidoscope has, before anything is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from sluice_provider.apis.checked_rows import InvalidRow
from sluice_provider.apis.kaleidoscope.endpoints import get_data_fields, get_key_fields
from sluice_provider.apis.validation import check_choice
from sluice_provider.errors import InvalidInput
from sluice_provider.http.flow import Flow

UNKNOWN_FIELD_POLICIES = ("fail", "create", "drop")
"""What `on_unknown_field` may be, beside None."""

Row = Mapping[str, Any]


class FieldRules:
    """
    :param on_unknown_field: one of the policies, or None where unknown fields are not looked for
    :param check_types: whether values must fit the types of their fields
    :param keys: names or ids of the key fields
    :param by_id: whether fields are given by id
    """

    def __init__(self, on_unknown_field: str | None, *, check_types: bool, keys: Sequence[str], by_id: bool) -> None:
        self._policy = on_unknown_field
        self._check_types = check_types
        self._keys = keys
        self._name = "id" if by_id else "field_name"
        self._types: Mapping[str, str] | None = None
        self.unknown: set[str] = set()
        """Fields of the rows so far that Kaleidoscope does not have."""

    def __bool__(self) -> bool:
        return self._policy is not None or self._check_types

    @property
    def settings(self) -> list[Any]:
        """What makes other rows of the same source, for the fingerprint; empty without rules."""
        return [self._policy, self._check_types] if self else []

    def validate(self) -> None:
        """:raises InvalidInput: the policy is wrong"""
        if self._policy is None:
            return
        check_choice("on_unknown_field", self._policy, UNKNOWN_FIELD_POLICIES)
        if self._policy == "create" and self._name == "id":
            raise InvalidInput(
                "on_unknown_field='create' goes with key_field_names only: a field that does not exist has no id"
            )

    def read(self) -> Flow[None]:
        """Read Kaleidoscope's fields, once.

        :raises InvalidInput: a key field is not among them, and is not to be created
        """
        if not self or self._types is not None:
            return
        keys = {str(field.get(self._name)) for field in (yield from get_key_fields())}
        unknown = [key for key in self._keys if key not in keys]
        if unknown and self._policy in ("fail", "drop"):
            raise InvalidInput(f"Kaleidoscope has no key field {unknown[0]!r}{_suggestion(unknown[0], keys)}")
        fields = yield from get_data_fields()
        self._types = {str(field.get(self._name)): str(field.get("field_type")) for field in fields}

    def apply(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows to send. :raises InvalidRow: one has an unknown field, or a value that does not fit"""
        if self._types is None:
            raise InvalidInput("Kaleidoscope's fields were not read before the records")
        names = set().union(*rows) - {*self._keys}
        unknown = names - self._types.keys() if self._policy else set()
        if unknown:
            rows = self._without(unknown, rows)
        if self._check_types:
            for name in sorted(names & self._types.keys()):
                _check_type(name, self._types[name], rows)
        return rows

    def _without(self, unknown: set[str], rows: Sequence[Row]) -> Sequence[Row]:
        if self._policy == "fail":
            index = next(index for index, row in enumerate(rows) if not unknown.isdisjoint(row))
            name = next(name for name in rows[index] if name in unknown)
            raise InvalidRow(
                index,
                f"has the field {name!r}, which Kaleidoscope does not have{_suggestion(name, self._types or ())}: set "
                "on_unknown_field to 'create' or 'drop', or name the fields to send in columns",
            )
        self.unknown |= unknown
        if self._policy == "create":
            return rows
        return [{name: value for name, value in row.items() if name not in unknown} for row in rows]

    def describe(self, log: Any) -> None:
        """Log the unknown fields, once all rows were read."""
        if self.unknown:
            what = "are left out" if self._policy == "drop" else "will be created by Kaleidoscope"
            log.warning(
                "Fields that Kaleidoscope does not have, and that %s: %s", what, ", ".join(sorted(self.unknown))
            )


def _suggestion(name: str, known: Any) -> str:
    close = get_close_matches(name, [str(each) for each in known], n=1)
    return f" (it has {close[0]!r})" if close else ""


def _check_type(name: str, field_type: str, rows: Sequence[Row]) -> None:
    if field_type not in _FITS:
        return
    fits = _FITS[field_type]
    for index, row in enumerate(rows):
        value = row.get(name)
        if value is not None and value != "" and not fits(value):
            raise InvalidRow(index, f"has {name}={value!r:.60}, and the type of this field is {field_type}")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return False
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false"))


def _is_date(value: Any) -> bool:
    return isinstance(value, date) or (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value) is not None)


_FITS: Mapping[str, Callable[[Any], bool]] = {"number": _is_number, "boolean": _is_boolean, "date": _is_date}
"""What fits each type; other types take anything that is checked here (kalbio `entity_fields.py:
DataFieldTypeEnum`)."""
