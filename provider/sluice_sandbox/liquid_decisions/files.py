"""Import and export files of Liquid Decisions: items as JSON or as CSV.

The form of an item is from the wiki's page "Upsert API". That a batch file contains a list of such items, and the form
of an import template, are not documented: both are lenient guesses.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Data = dict[str, Any]


class InvalidFile(Exception):
    """The job is rejected; the message becomes its reason."""


# --- import


def read_json(content: bytes, item_type: str) -> list[tuple[str, Data]]:
    """Action and data of each item.

    :raises InvalidFile: with the number of the first wrong item
    """
    try:
        items = json.loads(content)
    except ValueError as error:
        raise InvalidFile(f"The file is not JSON: {error}") from None
    if not isinstance(items, list) or not items:
        raise InvalidFile("The file must contain a list of items")
    return [_item(item, number, item_type) for number, item in enumerate(items, 1)]


def _item(item: object, number: int, item_type: str) -> tuple[str, Data]:
    """An item with headers, as for an upsert, or only its data."""
    if not isinstance(item, dict):
        raise InvalidFile(f"Item {number} is not an object")
    if "headers" not in item:
        return "Create", item
    headers, data = item["headers"], item.get("data")
    if not isinstance(headers, dict) or not isinstance(data, dict):
        raise InvalidFile(f"Item {number} must have headers and data")
    if headers.get("type", item_type) != item_type:
        raise InvalidFile(f"Item {number} is of type {headers['type']}, not {item_type}")
    action = headers.get("action", "Create")
    if action not in ("Create", "Merge", "Update", "Delete"):
        raise InvalidFile(f"Item {number} has the unknown action {action}")
    return action, data


def read_csv(content: bytes, template: bytes | None, *, header_row: bool) -> list[tuple[str, Data]]:
    """Action and data of each row.

    :param template: a JSON object {field: column}; without a header row columns are numbers from 0
    :raises InvalidFile: with the number of the first wrong row
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidFile(f"The file is not CSV: {error}") from None
    names = rows.pop(0) if header_row and rows else [str(number) for number in range(len(rows[0]) if rows else 0)]
    if not rows:
        raise InvalidFile("The file contains no rows")
    if template is None and not header_row:
        raise InvalidFile("A CSV file without a header row needs a template")
    columns = _columns(template, names) if template is not None else dict(zip(names, names, strict=True))
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise InvalidFile(f"Row {number} has {len(row)} columns instead of {len(names)}")
    index = {name: number for number, name in enumerate(names)}
    return [("Create", {field: row[index[column]] for field, column in columns.items()}) for row in rows]


def _columns(template: bytes, names: Sequence[str]) -> dict[str, str]:
    try:
        columns = json.loads(template)
    except ValueError:
        columns = None
    if not isinstance(columns, dict) or not columns:
        raise InvalidFile("The template cannot be read: it must be a JSON object of fields and their columns")
    unknown = [column for column in columns.values() if str(column) not in names]
    if unknown:
        raise InvalidFile(f"The template names the column {unknown[0]}, which the file does not have")
    return {field: str(column) for field, column in columns.items()}


# --- filters and queries


def read_filters(text: str) -> Data:
    """Filters as JSON or as the `str` of a Python dict; the published script sends `0` for no filters."""
    if text.strip() in ("", "0"):
        return {}
    for read in (json.loads, ast.literal_eval):
        try:
            filters = read(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(filters, dict):
            return filters
    raise InvalidFile("The filters cannot be read")


def matches(data: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether all fields are equal. A path expression like /Workflow/processStatus[Editing] compares `Editing`."""
    for field, expected in filters.items():
        path = re.fullmatch(r"/.*\[(.*)\]", str(expected))
        if str(data.get(field)) not in (str(expected), path[1] if path else str(expected)):
            return False
    return True


def query(sql: str, item_type: str, items: Sequence[Mapping[str, Any]]) -> list[Data]:
    """The rows of a SELECT in SQLite's dialect; its only table is the item type.

    :raises InvalidFile: SQLite rejected the query
    """
    names = list(dict.fromkeys(name for item in items for name in item)) or ["id"]
    quoted = [_identifier(name) for name in names]
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE {_identifier(item_type)} ({', '.join(quoted)})")
        rows = [[_sqlite_value(item.get(name)) for name in names] for item in items]
        slots = ", ".join("?" * len(names))
        db.executemany(f"INSERT INTO {_identifier(item_type)} VALUES ({slots})", rows)  # noqa: S608 - quoted
        db.set_authorizer(_read_only)
        try:
            found = db.execute(sql)
            columns = [each[0] for each in found.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in found]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise InvalidFile(f"The query cannot be run: {error}") from None


def _read_only(action: int, *_: object) -> int:
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sqlite_value(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


# --- export


def write(rows: Sequence[Mapping[str, Any]], *, as_json: bool, template: str | None, header: bool) -> bytes:
    """The content of one file of an export."""
    if as_json:
        return json.dumps(list(rows), indent=1).encode()
    if template:
        return _render(rows, template, header=header).encode()
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if header:
        writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)
    return out.getvalue().encode()


_REFERENCE = re.compile(r"\$!?\{?(?:item\.)?([A-Za-z_]\w*)\}?")


def _render(rows: Iterable[Mapping[str, Any]], template: str, *, header: bool) -> str:
    """Rows by a Velocity template, of which only references are supported: $name, ${item.name}."""
    line = template.strip()
    lines = [",".join(_REFERENCE.findall(line))] if header else []
    lines += [_REFERENCE.sub(lambda found, row=row: str(row.get(found[1], "")), line) for row in rows]  # type: ignore[misc]
    return "".join(f"{each}\r\n" for each in lines)
