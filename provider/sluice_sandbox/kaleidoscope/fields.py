"""Kaleidoscope's fields: names, types, conversion of values, and the initial fields of a workspace."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SLICES = {"Element": ("symbol",), "Compound": ("name",), "Sample": ("id",), "Assay result": ("compound_id",)}
TYPES = {
    "text": ("name", "symbol", "smiles", "formula", "category"),
    "number": ("atomic_number", "atomic_weight", "molecular_weight", "melting_point", "boiling_point", "density"),
    "boolean": ("radioactive",),
    "date": ("registered_on",),
    "file": ("attachment",),  # only uploads set it; no pushed value is valid
}


@lru_cache(maxsize=1024)
def stable_id(*names: str) -> str:
    """A UUID that is the same in every sandbox and after every reset."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("https://sandbox.sluice", *names))))


@dataclass(frozen=True)
class Field:
    """A key field or a data field; types are those of kalbio's DataFieldTypeEnum."""

    field_name: str
    field_type: str
    is_key: bool
    created_at: float

    @property
    def id(self) -> str:
        """A key field and a data field of the same name have different ids."""
        return stable_id("key_field" if self.is_key else "data_field", self.field_name)

    def to_json(self) -> dict[str, Any]:
        """As listed by `/key_fields` and `/data_fields` (kalbio 0.2.4 and 0.7.0: entity_fields.py)."""
        return {
            "id": self.id,
            "created_at": iso(self.created_at),
            "is_key": self.is_key,
            "field_name": self.field_name,
            "field_type": self.field_type,
        }

    def convert(self, value: Any) -> Any:
        """The value as the field stores it. Numbers and booleans may be strings, as from a CSV file.

        :raises InvalidFieldValue: the field's type does not accept it
        """
        if value is None or value == "":
            return None
        try:
            return _CONVERTERS[self.field_type](value)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidFieldValue(value) from error


class InvalidFieldValue(ValueError):
    """The type of the field does not accept the value."""


class Fields:
    """Key fields and data fields of a workspace, by name."""

    def __init__(self, now: float) -> None:
        self.keys = {name: Field(name, "text", True, now) for names in SLICES.values() for name in names}
        self.data = {name: Field(name, kind, False, now) for kind, names in TYPES.items() for name in names}

    def add_key(self, name: str, now: float) -> None:
        """Add a key field unless it exists."""
        self.keys.setdefault(name, Field(name, "text", True, now))

    def for_value(self, name: str, value: Any, now: float) -> Field:
        """The data field of this name, or a new one (not added) of the type that fits the value."""
        return self.data.get(name) or Field(name, _inferred_type(value), False, now)

    def names(self, *, keys: bool) -> dict[str, str]:
        """Names of the key fields or of the data fields, by id."""
        return {each.id: each.field_name for each in (self.keys if keys else self.data).values()}


def _inferred_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else "text"


def _to_text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise TypeError(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(_to_number(value)) if isinstance(value, float) else str(value)


def _to_number(value: Any) -> float | int:
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError(value)
    return int(number) if number.is_integer() else number


def _to_boolean(value: Any) -> bool:
    return {"true": True, "false": False}[str(value).lower()]


def _to_date(value: Any) -> str:
    datetime.fromisoformat(value.replace("Z", "+00:00") if isinstance(value, str) else value)
    return str(value)


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "text": _to_text,
    "number": _to_number,
    "boolean": _to_boolean,
    "date": _to_date,
}
