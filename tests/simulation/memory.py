"""The sandbox's folders, kept in memory: a simulation has no files."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sluice_sandbox.finspace.files import BUCKET as FINSPACE_BUCKET
from sluice_sandbox.finspace.files import INVALID, NOT_FOUND, NOT_PERMITTED, Folders, JobFailed, write_sample_data
from sluice_sandbox.kili.bucket import SAMPLE_FILES, Bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MemoryBucket(Bucket):
    """A bucket that is a list of names."""

    def __init__(self, starters: Sequence[str] = SAMPLE_FILES) -> None:
        super().__init__(starters)
        self.names = set(starters)

    @property
    def path(self) -> Path:
        """Where it would be."""
        return Path("/simulated/bucket")

    def files(self) -> list[str]:
        """The names, sorted."""
        return sorted(self.names)


class MemoryFolders(Folders):
    """The kdb databases as sizes of files by their paths. In S3 there is what the sandbox always has there."""

    def __init__(self) -> None:
        super().__init__()
        self._databases: dict[tuple[str, str], dict[str, int]] = {}

    def clear(self) -> None:
        """The databases are gone."""
        self._databases = {}

    def files(self, environment: str, name: str) -> dict[str, int]:
        """The files of a database with their sizes, by their paths in it."""
        found = self._databases.get((environment, name), {})
        return {f"/{path}": found[path] for path in sorted(found)}

    def apply(self, environment: str, name: str, requests: Sequence[Mapping[str, Any]], denied: str) -> None:
        """All of the changes in their order, or none."""
        new = dict(self._databases.get((environment, name), {}))
        for request in requests:
            if request["changeType"] == "PUT":
                _put(new, request["s3Path"], request["dbPath"], denied)
            else:
                _delete(new, request["dbPath"])
        self._databases[environment, name] = new


def _put(database: dict[str, int], s3_path: str, db_path: str, denied: str) -> None:
    bucket, _, key = s3_path.removeprefix("s3://").partition("/")
    if bucket == denied:
        raise JobFailed(NOT_PERMITTED, f"Access denied for {s3_path}")
    if ".." in s3_path.split("/") or ".." in db_path.split("/"):
        raise JobFailed(INVALID, f"Path is not allowed: {s3_path} {db_path}")
    source, target = f"{bucket}/{key}", db_path.strip("/")
    stored = _stored()
    found = {path: size for path, size in stored.items() if path == source or path.startswith(source.rstrip("/") + "/")}
    if not found or (source in found) == s3_path.endswith("/"):
        raise JobFailed(NOT_FOUND, f"S3 path not found: {s3_path}")
    cut = len(source) if s3_path.endswith("/") else source.rfind("/") + 1
    for path, size in found.items():
        database["/".join(filter(None, (target, path[cut:])))] = size


def _delete(database: dict[str, int], db_path: str) -> None:
    pattern = "/" + db_path.strip("/")
    wild = any(each in db_path for each in "*?")
    for path in list(database):
        ends = [end for end, letter in enumerate(path) if letter == "/"]
        names = ["/" + path, *("/" + path[:end] for end in ends), *(["/"] if not wild else [])]
        if any(fnmatchcase(each, pattern) if wild else each == pattern for each in names):
            del database[path]


@cache
def _stored() -> dict[str, int]:
    """What is in S3, with its sizes."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_sample_data(root / FINSPACE_BUCKET / "hdb")
        return {each.relative_to(root).as_posix(): each.stat().st_size for each in root.rglob("*") if each.is_file()}
