"""Rows of queries in real databases: how values arrive, that they are streamed, in which words misuse is refused."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import encode
from sluice_provider.records import SqlQuery
from sluice_provider.sources.records import open_source
from tests.databases import mariadb, postgres
from tests.sources import database_hooks
from tests.sources.chunked import located

pytestmark = pytest.mark.airflow

Database = Callable[..., None]

ONE_OF_EACH = {
    "postgres": """SELECT 1 AS i, 2.5::float8 AS f, 'NaN'::float8 AS nan, NULL::text AS missing, 0.1::numeric AS exact,
        'NaN'::numeric AS not_exact, '123456789012345678.5'::numeric AS long, DATE '2026-03-01' AS d,
        TIMESTAMPTZ '2026-03-01 12:00:00.5+00' AS t, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS id,
        '\\x00ff'::bytea AS bytes, true AS yes, ARRAY[1, 2] AS list, '{"a": [1]}'::jsonb AS object, 'ü' AS text""",
    "mysql": """SELECT 1 AS i, 2.5e0 AS f, NULL AS missing, CAST(0.1 AS DECIMAL(5, 1)) AS exact,
        CAST('123456789012345678.5' AS DECIMAL(30, 1)) AS `long`, DATE '2026-03-01' AS d,
        TIMESTAMP '2026-03-01 12:00:00.5' AS t, CAST('26:30:00' AS TIME) AS duration, x'00ff' AS bytes, 'ü' AS text""",
    "sqlite": "SELECT 1 AS i, 2.5 AS f, NULL AS missing, x'00ff' AS bytes, 'ü' AS text",
}
IN_ALL = {"i": 1, "f": 2.5, "bytes": "AP8=", "text": "ü"}
EXPECTED = {
    "postgres": {
        **IN_ALL,
        "exact": 0.1,
        "long": "123456789012345678.5",
        "d": "2026-03-01",
        "t": datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=timezone.utc),
        "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "yes": True,
        "list": [1, 2],
        "object": {"a": [1]},
    },
    "mysql": {
        **IN_ALL,
        "exact": 0.1,
        "long": "123456789012345678.5",
        "d": "2026-03-01",
        "t": "2026-03-01T12:00:00.500000",
        "duration": "26:30:00",
    },
    "sqlite": IN_ALL,
}
PLACEHOLDERS = {"postgres": "%(least)s", "mysql": "%(least)s", "sqlite": ":least"}


@pytest.fixture(params=["postgres", "mysql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A database behind the connection `db`: its kind, and a function that executes statements there."""
    database_hooks.register(monkeypatch)
    if request.param == "sqlite":
        yield from _sqlite(tmp_path / "a.db", monkeypatch)
        return
    with (postgres if request.param == "postgres" else mariadb)() as url:
        parts = make_url(url)
        where = f"{parts.username}@{parts.host}:{parts.port or 5432}/{parts.database}"
        monkeypatch.setenv("AIRFLOW_CONN_DB", f"{request.param}://{where}")
        engine = create_engine(url)

        def execute(*statements: str) -> None:
            with engine.begin() as connection:
                for statement in statements:
                    connection.execute(text(statement))

        yield request.param, execute
        engine.dispose()


def _sqlite(path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AIRFLOW_CONN_DB", f'{{"conn_type": "sqlite", "host": "{path}"}}')

    def execute(*statements: str) -> None:
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)

    yield "sqlite", execute


def rows(sql: str, parameters: Any = None, skip: int = 0) -> list[Any]:
    """What a query has."""
    return [record for _, record in located(open_source(SqlQuery(sql, "db", parameters)).chunks(skip))]


def numbered(count: int) -> list[str]:
    """Statements that make a table of so many rows."""
    ten = "SELECT 0 AS d UNION ALL " + " UNION ALL ".join(f"SELECT {n}" for n in range(1, 10))
    digits = [f"({ten}) AS d{n}" for n in range(len(str(count)) - 1)]
    number = " + ".join(f"d{n}.d * {10**n}" for n in range(len(digits)))
    return [f"CREATE TABLE t AS SELECT {number} AS n FROM {' CROSS JOIN '.join(digits)}"]


def test_values(database):
    """NULL and NaN are left out, exact decimals are numbers or text, times ISO 8601, bytes base64."""
    kind, _ = database
    (row,) = rows(ONE_OF_EACH[kind])
    expected = dict(EXPECTED[kind])
    moment = expected.get("t")
    if isinstance(moment, datetime):  # in the time zone of the session
        assert row.pop("t") == expected.pop("t")
    assert encode(row) == encode({name: expected[name] for name in row})
    assert set(row) == set(expected)


def test_numbers_and_parameters(database):
    """Each row knows its number; values of parameters are bound by the driver."""
    kind, execute = database
    execute(*numbered(100))
    source = open_source(SqlQuery(f"SELECT n FROM t WHERE n >= {PLACEHOLDERS[kind]} ORDER BY n", "db", {"least": 98}))
    assert list(located(source.chunks())) == [("row 1", {"n": 98}), ("row 2", {"n": 99})]
    assert rows("SELECT n FROM t WHERE n < 3 ORDER BY n", skip=1) == [{"n": 1}, {"n": 2}]
    assert rows("SELECT n FROM t WHERE n < 0") == []
    if kind != "sqlite":
        assert rows("SELECT n FROM t WHERE 1 = 1 AND '%' = '%' AND n = 5") == [{"n": 5}]


def test_rows_are_streamed(database):
    """Memory does not grow with the number of rows: the server holds them."""
    kind, execute = database
    execute(*numbered(100_000))
    peaks = []
    for count in (5_000, 100_000):
        tracemalloc.start()
        assert sum(
            len(c.records) for c in open_source(SqlQuery(f"SELECT n FROM t WHERE n < {count}", "db")).chunks()
        ) == (count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000, kind


def test_postgres_computes_rows_while_they_are_read(database):
    """The first rows are there before the last one, which cannot be computed. Memory of its driver is not traced."""
    if database[0] != "postgres":
        pytest.skip("other databases divide by zero")
    chunks = open_source(SqlQuery("SELECT 1 / (10000 - n) AS x FROM generate_series(1, 10000) AS s(n)", "db")).chunks()
    assert len(next(chunks).records) == 500
    with pytest.raises(InvalidInput, match="division by zero"):
        list(chunks)


def test_a_query_changes_nothing(database):
    """A statement without rows is refused and rolled back, where the database has transactions for it."""
    _, execute = database
    execute("CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1)")
    with pytest.raises(InvalidInput, match=r"the statement returns no rows|syntax error"):
        rows("DELETE FROM t")
    assert rows("SELECT n FROM t") == [{"n": 1}]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1 AS a, 2 AS a", "more than one column named 'a'"),
        ("SELECT nonsense FROM nowhere", "the query on connection 'db' failed: "),
        ("", "must be a SQL statement"),
    ],
)
def test_invalid_queries(database, sql, words):
    """In the words of the database where it has any."""
    with pytest.raises(InvalidInput, match=words):
        rows(sql)


def test_abandoned_reading_closes_the_connection(database):
    """After the first chunk, as when a record is invalid: the table can be dropped at once."""
    _, execute = database
    execute(*numbered(10_000))
    chunks = open_source(SqlQuery("SELECT n FROM t", "db")).chunks()
    next(chunks)
    chunks.close()
    execute("DROP TABLE t")


@pytest.mark.parametrize(
    ("conn", "words"),
    [
        (None, "Airflow has no connection 'db'"),
        ("nobody://h", "connection 'db' cannot be used: Unknown hook type"),
        ("no-database://h", "connection 'db' of type 'no_database' is not a SQL database"),
    ],
)
def test_connections_that_cannot_be_used(monkeypatch, conn, words):
    """Each with the reason."""
    database_hooks.register(monkeypatch)
    monkeypatch.delenv("AIRFLOW_CONN_DB", raising=False)
    if conn:
        monkeypatch.setenv("AIRFLOW_CONN_DB", conn)
    with pytest.raises(InvalidInput, match=words):
        rows("SELECT 1")


def test_a_server_that_does_not_answer_is_retried(monkeypatch):
    """Nothing is wrong with the query."""
    pytest.importorskip("psycopg2")
    database_hooks.register(monkeypatch)
    monkeypatch.setenv("AIRFLOW_CONN_DB", "postgres://u@127.0.0.1:1/d")
    with pytest.raises(InvalidInput, match="OperationalError") as error:
        rows("SELECT 1")
    assert error.value.retryable


def test_exact_decimals_of_frames_and_databases_agree():
    """The rule is one: a number if a float holds it exactly as written, else text."""
    assert encode({"a": Decimal("0.1"), "b": Decimal("0.10000000000000000001"), "d": date(2026, 3, 1)}) == (
        b'{"a":0.1,"b":"0.10000000000000000001","d":"2026-03-01"}'
    )
