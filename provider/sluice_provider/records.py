"""Where records come from, for the argument `records` of operators, when it is not a list, a frame or a path.

    KaleidoscopePushOperator(
        task_id="push",
        records=SqlQuery("SELECT * FROM compounds WHERE day = %(day)s", conn_id="lab", parameters={"day": "{{ ds }}"}),
        key_field_names=["compound_id"],
    )

All strings in them are templated, and XComs of upstream tasks may be anywhere in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Files", "SqlQuery"]


class SqlQuery(NamedTuple):
    """The rows of a query, through any Airflow connection whose hook is a `DbApiHook`.

    They are streamed, through a server-side cursor with psycopg, PyMySQL and mysqlclient. The transaction is rolled
    back at the end, so a query changes nothing.

    :param sql: one statement, or the path of a template file that ends in `.sql`, below the DAG's folder or its
        `template_searchpath`
    :param conn_id: Airflow connection id
    :param parameters: values of the placeholders in the statement, in the notation of the database's driver
    """

    sql: str
    conn_id: str
    parameters: Mapping[str, Any] | Sequence[Any] | None = None


class Files(NamedTuple):
    """Files with options, or many files that are read as one, in the order of their names.

    :param path: the path or URL of a file, a pattern (`s3://bucket/in/*.csv`), a folder (all of its files but those
        whose names begin with `.` or `_`, and not its subfolders), an Asset, or a list of these
    :param format: `csv`, `tsv`, `json`, `jsonl` or `parquet`; by default each file's extension decides
    :param file_name_column: an additional field for the name of the file that a record is from
    :param delimiter: between two cells of a CSV file: one character; by default a comma, or a tab in `.tsv`
    :param quote_char: around cells of a CSV file that contain a delimiter; None where quotes have no meaning
    :param encoding: of a text file, by Python's name
    :param column_names: of CSV files that have no header
    :param null_values: cells of a CSV file that are left out of their record, beside empty ones
    """

    path: Any
    format: str | None = None
    file_name_column: str | None = None
    delimiter: str | None = None
    quote_char: str | None = '"'
    encoding: str = "utf-8"
    column_names: Sequence[str] | None = None
    null_values: Sequence[str] = ()


class FromFunction(NamedTuple):
    """Records that a function returns or yields when the task runs. Operators make it of a function, because Airflow
    would call one with its own arguments when it renders templates."""

    function: Callable[[], Any]


class Mapped(NamedTuple):
    """Records whose fields are selected, renamed and completed: an operator's `records`, `columns` and `constants`."""

    records: Any
    columns: Mapping[str, str] | Sequence[str] | None
    constants: Mapping[str, Any] | None


def mapped(records: Any, columns: Any, constants: Any) -> Any:
    """The records of an operator with these arguments."""
    return records if records is None or not (columns or constants) else Mapped(records, columns, constants)


def wrap_function(records: Any) -> Any:
    """An operator's argument `records` as it is stored until the task runs."""
    return FromFunction(records) if callable(records) else records
