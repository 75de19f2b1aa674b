"""Records in databases: the rows of a query through an Airflow connection, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from sluice_provider.errors import InvalidInput
from sluice_provider.records import SqlQuery
from sluice_provider.sources.chunks import CHUNK_RECORDS, Chunk, table_chunks
from sluice_provider.sources.values import column_names, table_chunk

RETRYABLE = {"OperationalError", "InterfaceError", "InternalError"}
"""Errors of the Python database API (PEP 249) that a retry may not meet again: connections, locks, restarts."""
OWN_ERRORS = {"Error", "DatabaseError"}
"""Base classes of all errors of a driver."""


class SqlSource:
    """The rows of a query. Each reading runs it again, and may find other rows."""

    sha256: str | None = None
    recognisable = False

    def __init__(self, query: SqlQuery) -> None:
        if not isinstance(query.sql, str) or not query.sql.strip():
            raise InvalidInput(f"records: sql of a SqlQuery must be a SQL statement, not {query.sql!r:.60}")
        if not isinstance(query.conn_id, str) or not query.conn_id.strip():
            raise InvalidInput(
                f"records: conn_id of a SqlQuery must be an Airflow connection id, not {query.conn_id!r}"
            )
        self._query = query
        self.name = f"the query on connection {query.conn_id!r}"

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        return table_chunks(self._rows(), skip)

    def _rows(self) -> Iterator[Chunk]:
        hook = self._hook()
        with self._driver_errors(), closing(hook.get_conn()) as connection:
            cursor = _streaming_cursor(connection)
            try:
                parameters = self._query.parameters
                cursor.execute(self._query.sql, *([] if parameters is None else [parameters]))
                yield from self._fetch(cursor)
            finally:
                for undo in (cursor.close, connection.rollback):
                    with suppress(Exception):  # some drivers refuse it while rows are unread; closing does it as well
                        undo()

    def _fetch(self, cursor: Any) -> Iterator[Chunk]:
        number, names = 1, None
        while True:
            # A server-side cursor of PostgreSQL knows its columns once it has fetched.
            rows = cursor.fetchmany(CHUNK_RECORDS) if names or cursor.description or _is_named(cursor) else []
            if names is None:
                if not cursor.description:
                    raise InvalidInput(f"{self.name}: the statement returns no rows; it must be a SELECT")
                names = self._names([column[0] for column in cursor.description])
            if not rows:
                return
            yield table_chunk(number, names, rows)
            number += len(rows)

    def _names(self, names: list[Any]) -> tuple[str, ...]:
        try:
            return column_names(names)
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error} (AS in the statement)") from None

    def _hook(self) -> Any:
        from airflow.sdk import BaseHook

        from sluice_provider.compat import AirflowException, AirflowNotFoundException

        conn_id = self._query.conn_id
        try:
            connection = BaseHook.get_connection(conn_id)
            hook = connection.get_hook()
        except AirflowNotFoundException:
            raise InvalidInput(f"records: Airflow has no connection {conn_id!r}") from None
        except AirflowException as error:
            raise InvalidInput(
                f"records: connection {conn_id!r} cannot be used: {error}. Check its type, and that the Airflow "
                "provider for it is installed"
            ) from None
        if not hasattr(hook, "get_conn") or not hasattr(hook, "get_records"):
            raise InvalidInput(
                f"records: connection {conn_id!r} of type {connection.conn_type!r} is not a SQL database"
            )
        return hook

    @contextmanager
    def _driver_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            classes = {each.__name__ for each in type(error).__mro__ if each.__module__ != "builtins"}
            if isinstance(error, InvalidInput) or not classes & OWN_ERRORS:
                raise
            invalid = InvalidInput(f"{self.name} failed: {type(error).__name__}: {' '.join(str(error).split())}")
            invalid.retryable = bool(classes & RETRYABLE)
            raise invalid from None


def _is_named(cursor: Any) -> bool:
    """A server-side cursor of psycopg."""
    return bool(getattr(cursor, "name", None))


def _streaming_cursor(connection: Any) -> Any:
    """A cursor that leaves the rows at the server until they are fetched, where the driver has one. Other drivers
    (sqlite3, oracledb, pyodbc, ...) do so by default."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg2", "psycopg"):
        connection.autocommit = False  # such a cursor lives in a transaction
        return connection.cursor(name="sluice")
    if driver in ("pymysql", "MySQLdb"):
        from importlib import import_module

        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()
