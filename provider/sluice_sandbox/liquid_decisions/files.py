"""The files that Liquid Decisions takes and gives: items as JSON or as CSV.

The form of an item is from the wiki's page "Upsert API"; that a batch file holds a list of such items, and what an
import template looks like, nobody says: both are guesses, as generous as can be.
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


class BadFile(Exception):
    """The job is rejected; the text becomes its reason."""


# In


def read_json(content: bytes, item_type: str) -> list[tuple[str, Data]]:
    """Action and data of each item."""
    try:
        items = json.loads(content)
    except ValueError as error:
        raise BadFile(f"The file is not JSON: {error}") from None
    if not isinstance(items, list) or not items:
        raise BadFile("The file must hold a list of items")
    return [_item(item, number, item_type) for number, item in enumerate(items, 1)]


def _item(item: object, number: int, item_type: str) -> tuple[str, Data]:
    """With headers, as for an upsert, or the bare data."""
    if not isinstance(item, dict):
        raise BadFile(f"Item {number} is not an object")
    if "headers" not in item:
        return "Create", item
    headers, data = item["headers"], item.get("data")
    if not isinstance(headers, dict) or not isinstance(data, dict):
        raise BadFile(f"Item {number} must have headers and data")
    if headers.get("type", item_type) != item_type:
        raise BadFile(f"Item {number} is of type {headers['type']}, not {item_type}")
    action = headers.get("action", "Create")
    if action not in ("Create", "Merge", "Update", "Delete"):
        raise BadFile(f"Item {number} has the unknown action {action}")
    return action, data


def read_csv(content: bytes, template: bytes | None, *, header_row: bool) -> list[tuple[str, Data]]:
    """Rows against the template: a JSON object {field: column}, a column by its name or, without a header, number."""
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"The file is not CSV: {error}") from None
    names = rows.pop(0) if header_row and rows else [str(number) for number in range(len(rows[0]) if rows else 0)]
    if not rows:
        raise BadFile("The file holds no rows")
    if template is None and not header_row:
        raise BadFile("A CSV file without a header row needs a template")
    columns = _columns(template, names) if template is not None else dict(zip(names, names, strict=True))
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise BadFile(f"Row {number} has {len(row)} columns instead of {len(names)}")
    at = {name: place for place, name in enumerate(names)}
    return [("Create", {field: row[at[column]] for field, column in columns.items()}) for row in rows]


def _columns(template: bytes, names: Sequence[str]) -> dict[str, str]:
    try:
        columns = json.loads(template)
    except ValueError:
        columns = None
    if not isinstance(columns, dict) or not columns:
        raise BadFile("The template cannot be read: it must be a JSON object of fields and their columns")
    unknown = [column for column in columns.values() if str(column) not in names]
    if unknown:
        raise BadFile(f"The template names the column {unknown[0]}, which the file does not have")
    return {field: str(column) for field, column in columns.items()}


# Choosing


def read_filters(text: str) -> Data:
    """JSON, or what Python's str makes of a dict; the published script's own "no filters" is the text 0."""
    if text.strip() in ("", "0"):
        return {}
    for read in (json.loads, ast.literal_eval):
        try:
            filters = read(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(filters, dict):
            return filters
    raise BadFile("The filters cannot be read")


def matches(data: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Equal in every field; of a path expression like /Workflow/processStatus[Editing] what the brackets hold."""
    for field, wanted in filters.items():
        named = re.fullmatch(r"/.*\[(.*)\]", str(wanted))
        if str(data.get(field)) not in (str(wanted), named[1] if named else str(wanted)):
            return False
    return True


def query(sql: str, item_type: str, items: Sequence[Mapping[str, Any]]) -> list[Data]:
    """Whatever SQLite takes for a SELECT on the one item type."""
    names = list(dict.fromkeys(name for item in items for name in item)) or ["id"]
    quoted = [_identifier(name) for name in names]
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE {_identifier(item_type)} ({', '.join(quoted)})")
        rows = [[_plain(item.get(name)) for name in names] for item in items]
        slots = ", ".join("?" * len(names))
        db.executemany(f"INSERT INTO {_identifier(item_type)} VALUES ({slots})", rows)  # noqa: S608 - quoted
        db.set_authorizer(_only_reading)
        try:
            found = db.execute(sql)
            columns = [each[0] for each in found.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in found]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise BadFile(f"The query cannot be run: {error}") from None


def _only_reading(action: int, *_: object) -> int:
    fine = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if action in fine else sqlite3.SQLITE_DENY


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


# Out


def write(rows: Sequence[Mapping[str, Any]], *, as_json: bool, template: str | None, header: bool) -> bytes:
    """One file of an export."""
    if as_json:
        return json.dumps(list(rows), indent=1).encode()
    if template:
        return _rendered(rows, template, header=header).encode()
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if header:
        writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)
    return out.getvalue().encode()


_REFERENCE = re.compile(r"\$!?\{?(?:item\.)?([A-Za-z_]\w*)\}?")


def _rendered(rows: Iterable[Mapping[str, Any]], template: str, *, header: bool) -> str:
    """Of Velocity only references: $name, ${item.name}."""
    line = template.strip()
    lines = [",".join(_REFERENCE.findall(line))] if header else []
    lines += [_REFERENCE.sub(lambda found, row=row: str(row.get(found[1], "")), line) for row in rows]  # type: ignore[misc]
    return "".join(f"{each}\r\n" for each in lines)
