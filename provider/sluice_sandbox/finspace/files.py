"""The files of the mock FinSpace: a folder that stands for S3, and one folder for each kdb database.

They are on disk, so that a person can look at them; `/control/state` has the path. A changeset is applied to a copy of
the database that then replaces it, so a failed changeset changes nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INVALID = "The inputs to this request are invalid."
NOT_FOUND = "One or more inputs to this request were not found."
NOT_PERMITTED = "Missing required permission to perform this request."

BUCKET = "sluice-market-data"
DAYS = ("2026.02.27", "2026.02.28", "2026.03.01", "2026.03.02", "2026.03.03", "2026.03.04")


class JobFailed(Exception):
    """A changeset failed: `errorType` and `errorMessage` of the service's `errorInfo`."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message


class Folders:
    """`s3/<bucket>/...` and `databases/<environment>/<database>/...`, in a temporary folder that is removed at exit."""

    def __init__(self) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._initial_s3: dict[str, tuple[int, int]] = {}

    @property
    def root(self) -> Path:
        """Created at first use, with sample data in S3."""
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="sluice-finspace-")
            write_sample_data(self.s3 / BUCKET / "hdb")
            self._initial_s3 = _listing(self.s3)
        return Path(self._temporary.name)

    @property
    def s3(self) -> Path:
        """The folder of all buckets."""
        return self.root / "s3"

    def database(self, environment: str, name: str) -> Path:
        """The folder of one database."""
        return self.root / "databases" / environment / name

    def clear(self) -> None:
        """Remove all databases and restore S3; S3 is recreated only if it was changed, as that takes time."""
        if self._temporary is None:
            return
        shutil.rmtree(self.root / "databases", ignore_errors=True)
        if _listing(self.s3) != self._initial_s3:
            self._temporary.cleanup()
            self._temporary = None

    def files(self, environment: str, name: str) -> dict[str, int]:
        """Sizes in bytes of the files of a database, by their paths in it."""
        if self._temporary is None:
            return {}
        root = self.database(environment, name)
        found = sorted(path for path in root.rglob("*") if path.is_file())
        return {f"/{path.relative_to(root).as_posix()}": path.stat().st_size for path in found}

    def apply(self, environment: str, name: str, requests: Sequence[Mapping[str, Any]], denied: str) -> None:
        """Apply all changes in order, or none.

        :param denied: the bucket that must not be read
        :raises JobFailed: with the contents of the service's `errorInfo`
        """
        old, new = self.database(environment, name), self.root / "next"
        shutil.rmtree(new, ignore_errors=True)
        if old.exists():
            shutil.copytree(old, new)
        new.mkdir(exist_ok=True)
        for request in requests:
            try:
                if request["changeType"] == "PUT":
                    self._put(new, request["s3Path"], request["dbPath"], denied)
                else:
                    _delete(new, request["dbPath"])
            except OSError as error:  # as a folder where a file is, or a name that is too long
                raise JobFailed(INVALID, f"{request['dbPath']}: {error.strerror}") from None
        shutil.rmtree(old, ignore_errors=True)
        old.parent.mkdir(parents=True, exist_ok=True)
        new.rename(old)

    def _put(self, database: Path, s3_path: str, db_path: str, denied: str) -> None:
        bucket, _, key = s3_path.removeprefix("s3://").partition("/")
        if bucket == denied:
            raise JobFailed(NOT_PERMITTED, f"Access denied for {s3_path}")
        source = _inside(self.s3, f"{bucket}/{key}")
        target = _inside(database, db_path)
        if s3_path.endswith("/") and source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif not s3_path.endswith("/") and source.is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        else:
            raise JobFailed(NOT_FOUND, f"S3 path not found: {s3_path}")


def _delete(database: Path, db_path: str) -> None:
    """A path that does not exist is ignored: a guess, as the documentation does not say."""
    if not any(wildcard in db_path for wildcard in "*?"):
        _remove([_inside(database, db_path)], database)
        return
    pattern = "/" + db_path.strip("/")
    _remove([each for each in database.rglob("*") if fnmatchcase(f"/{each.relative_to(database)}", pattern)], database)


def _remove(paths: Iterable[Path], database: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
            database.mkdir(exist_ok=True)  # the root itself is emptied, not removed
        else:
            path.unlink(missing_ok=True)


def _inside(root: Path, path: str) -> Path:
    """The path below `root`; one that leads out of it is rejected."""
    found = (root / path.strip("/")).resolve()
    if not found.is_relative_to(root.resolve()):
        raise JobFailed(INVALID, f"Path is not allowed: {path}")
    return found


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.stat()) for path in folder.rglob("*"))
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def write_sample_data(hdb: Path) -> None:
    """Write a historical database: per day a partition with two tables of three columns, and the symbol enumeration."""
    for number, day in enumerate(DAYS, 1):
        for table in ("quote", "trade"):
            folder = hdb / day / table
            folder.mkdir(parents=True)
            for column in (".d", "price", "sym", "time"):
                (folder / column).write_bytes(f"{table} {column} of {day}\n".encode() * number)
    (hdb / "sym").write_text("AAPL\nMSFT\nNVDA\n")
