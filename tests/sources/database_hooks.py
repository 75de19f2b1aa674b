"""Hooks of databases with the drivers that are installed for tests, as their Airflow providers have them."""

from __future__ import annotations

import sqlite3
from typing import Any

from airflow.providers.common.sql.hooks.sql import DbApiHook


class _Hook(DbApiHook):
    conn_name_attr = "conn_id"

    @property
    def _parts(self) -> Any:
        return self.get_connection(self.get_conn_id())


class SqliteHook(_Hook):
    """A file."""

    def get_conn(self) -> Any:
        return sqlite3.connect(self._parts.host, detect_types=sqlite3.PARSE_DECLTYPES)


class PostgresHook(_Hook):
    """By psycopg2."""

    def get_conn(self) -> Any:
        import psycopg2  # type: ignore[import-untyped]

        parts = self._parts
        return psycopg2.connect(host=parts.host, port=parts.port, user=parts.login, dbname=parts.schema)


class MySqlHook(_Hook):
    """By PyMySQL."""

    def get_conn(self) -> Any:
        import pymysql  # type: ignore[import-untyped]

        parts = self._parts
        return pymysql.connect(host=parts.host, port=parts.port, user=parts.login, database=parts.schema)


class NoDatabaseHook:
    """Of something else."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id


HOOKS = {"sqlite": SqliteHook, "postgres": PostgresHook, "mysql": MySqlHook, "no_database": NoDatabaseHook}


def register(monkeypatch: Any) -> None:
    """As if their providers were installed."""
    from airflow.sdk.providers_manager_runtime import HookInfo, ProvidersManagerTaskRuntime  # type: ignore[attr-defined]

    hooks = ProvidersManagerTaskRuntime().hooks
    for conn_type, hook in HOOKS.items():
        path = f"{hook.__module__}.{hook.__name__}"
        info = HookInfo(path, "conn_id", "tests", conn_type, conn_type, connection_testable=False)
        monkeypatch.setitem(hooks, conn_type, info)
