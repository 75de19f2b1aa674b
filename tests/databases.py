"""Databases for tests, in PostgreSQL and MariaDB: made for one test or module, and gone after it."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = os.environ.get("SLUICE_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")

MARIADB = os.environ.get("SLUICE_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/mysql")


@contextmanager
def mariadb() -> Iterator[str]:
    """The URL of a new, empty database. Skips where no server lets us make one."""
    pytest.importorskip("pymysql", reason="PyMySQL is not installed")
    name = f"sluice_{uuid.uuid4().hex[:12]}"
    server = create_engine(MARIADB, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    except OperationalError as error:
        pytest.skip(f"no MariaDB (SLUICE_TEST_MARIADB can name one): {str(error.orig).strip()}")
    try:
        yield make_url(MARIADB).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        server.dispose()


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a new, empty database. Skips where no server lets us make one."""
    name = f"sluice_{uuid.uuid4().hex[:12]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        pytest.skip(f"no PostgreSQL (SLUICE_TEST_POSTGRES can name one): {str(error.orig).strip()}")
    try:
        yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()
