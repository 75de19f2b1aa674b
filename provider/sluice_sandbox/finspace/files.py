"""Files and folders under the pretended FinSpace: one folder stands for S3, one for each kdb database.

They are real, so that a person can look at them; `/control/state` says where. Every version of a database is made aside
and put in place whole: a changeset that fails has changed nothing.
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
    """A changeset fails: the service's error type, a whole sentence, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Folders:
    """`s3/<bucket>/...` and `databases/<environment>/<database>/...`, in a temporary folder that ends with us."""

    def __init__(self) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._filled: dict[str, tuple[int, int]] = {}

    @property
    def root(self) -> Path:
        """Made when it is first needed, with something in S3."""
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="sluice-finspace-")
            _fill(self.s3 / BUCKET / "hdb")
            self._filled = _listing(self.s3)
        return Path(self._temporary.name)

    @property
    def s3(self) -> Path:
        """Buckets are folders in here."""
        return self.root / "s3"

    def database(self, environment: str, name: str) -> Path:
        """Where one database is."""
        return self.root / "databases" / environment / name

    def clear(self) -> None:
        """The databases are gone, and S3 is as it was: made anew if anybody has touched it, as that takes time."""
        if self._temporary is None:
            return
        shutil.rmtree(self.root / "databases", ignore_errors=True)
        if _listing(self.s3) != self._filled:
            self._temporary.cleanup()
            self._temporary = None

    def files(self, environment: str, name: str) -> dict[str, int]:
        """The files of a database with their sizes, by their paths in it."""
        if self._temporary is None:
            return {}
        root = self.database(environment, name)
        found = sorted(path for path in root.rglob("*") if path.is_file())
        return {f"/{path.relative_to(root).as_posix()}": path.stat().st_size for path in found}

    def apply(self, environment: str, name: str, requests: Sequence[Mapping[str, Any]], denied: str) -> None:
        """All of the changes in their order, or none.

        :raises JobFailed: in the words of the service's `errorInfo`
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
            except OSError as error:  # a folder where a file is, a name that is too long
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
    """What is not there is not missed: what the service says of that is not documented, so this is a guess."""
    if not any(wild in db_path for wild in "*?"):
        _remove([_inside(database, db_path)], database)
        return
    pattern = "/" + db_path.strip("/")
    _remove([each for each in database.rglob("*") if fnmatchcase(f"/{each.relative_to(database)}", pattern)], database)


def _remove(paths: Iterable[Path], database: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
            database.mkdir(exist_ok=True)  # the root itself may be emptied, and stays
        else:
            path.unlink(missing_ok=True)


def _inside(root: Path, path: str) -> Path:
    """No path leads out of its folder."""
    found = (root / path.strip("/")).resolve()
    if not found.is_relative_to(root.resolve()):
        raise JobFailed(INVALID, f"Path is not allowed: {path}")
    return found


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.stat()) for path in folder.rglob("*"))
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def _fill(hdb: Path) -> None:
    """A historical database: a partition a day with two tables of three columns, and the enumeration of symbols."""
    for number, day in enumerate(DAYS, 1):
        for table in ("quote", "trade"):
            folder = hdb / day / table
            folder.mkdir(parents=True)
            for column in (".d", "price", "sym", "time"):
                (folder / column).write_bytes(f"{table} {column} of {day}\n".encode() * number)
    (hdb / "sym").write_text("AAPL\nMSFT\nNVDA\n")
