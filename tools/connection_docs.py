"""Writes the tables of docs/connections.md from the declarations in `sluice_provider/connection_fields.py`.

$ python tools/connection_docs.py            # rewrite the tables
$ python tools/connection_docs.py --check    # fail if they are out of date
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from sluice_provider.connection_fields import CONNECTION_TYPES, STANDARD, Field

PAGE = Path(__file__).parents[1] / "docs" / "connections.md"


def table(conn_type: str) -> str:
    """The Markdown table of a connection type."""
    lines = ["| form | key | value | description |", "|---|---|---|---|"]
    lines += [_row(field) for field in CONNECTION_TYPES[conn_type].values()]
    return "\n".join(lines)


def _row(field: Field) -> str:
    key = f"`{field.name}`" if field.name in STANDARD else f"extra `{field.name}`"
    description = re.sub(r"\{.*\}", lambda json: f"`{json[0]}`", field.description)
    return f"| {field.label} | {key} | {_value(field)} | {description} |"


def _value(field: Field) -> str:
    """Its type, its default, and whether it is required or secret."""
    value = {"seconds": "number", "megabytes": "number", "object": "JSON object"}.get(field.type, field.type)
    if field.name == "port":
        value = "integer"
    if field.choices:
        value = " or ".join(f"`{choice}`" for choice in field.choices)
    default = "" if field.default == "" else f"{json.dumps(field.default)} by default"
    return ", ".join(filter(None, [value, default, *(word for word in ("required", "secret") if getattr(field, word))]))


def updated(page: str) -> str:
    """The page with today's tables, each between two comments that name its connection type."""

    def replace(found: re.Match[str]) -> str:
        return f"{found[1]}\n{table(found[2])}\n\n<!-- end -->"

    return re.sub(r"(<!-- fields: (\w+) -->\n).*?<!-- end -->", replace, page, flags=re.DOTALL)


def main() -> int:
    page = PAGE.read_text()
    if "--check" in sys.argv:
        return int(updated(page) != page)
    PAGE.write_text(updated(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
