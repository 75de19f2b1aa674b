"""Files between two tasks, for the plain Python that stands there: a local copy to read, results to write.

    @task
    def process(download: dict, out: str) -> str:
        with local_copy(download) as path, results_writer(out) as results:
            for row in csv.DictReader(path.open()):
                results.add(row["id"], "matched", data={"name": row["name"]})
        return results.path

What goes from task to task is a path: the rows themselves do not belong into an XCom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from sluice_provider.errors import InvalidInput

__all__ = ["ResultsWriter", "local_copy", "results_writer", "write_results"]


@contextmanager
def local_copy(source: Any) -> Iterator[Path]:
    """A file as a path on this machine, for as long as the block lasts.

    A file that is on this machine is given as it is. Any other is copied, streamed, under its own name into a folder
    that is gone afterwards.

    :param source: path or URL, `ObjectStoragePath`, or what a download operator returned: then size and checksum are
        those of the download, or it is refused
    :raises InvalidInput: there is no such file, or it is not the one that was downloaded
    """
    from sluice_provider.sources.file_names import safe_file_name
    from sluice_provider.sources.input_files import InputFile

    told: Mapping[str, Any] = source if isinstance(source, Mapping) else {"path": source}
    blob = InputFile(told.get("path"), "source")
    here = blob.local
    if here is not None:
        _compare(blob.name, told, bytes=here.stat().st_size)
        if told.get("sha256"):
            _compare(blob.name, told, sha256=blob.sha256())
        yield here
        return
    with TemporaryDirectory(prefix="sluice-") as folder:
        copy = Path(folder) / safe_file_name(blob.filename, "file")
        size, sha256 = blob.fetch(copy)
        _compare(blob.name, told, bytes=size, sha256=sha256)
        yield copy


def _compare(name: str, told: Mapping[str, Any], **found: Any) -> None:
    for what, value in found.items():
        if told.get(what) not in (None, value):
            raise InvalidInput(f"source: {name} is not what was downloaded: {what} is {value}, and was {told[what]}")


class ResultsWriter:
    """Results for single records, written one by one. Made by `results_writer`.

    :param path: where they will be, once all are written
    """

    def __init__(self, path: str, stream: IO[bytes]) -> None:
        self.path = path
        self.count = 0
        self._stream = stream
        self._known: set[str] = set()

    def add(
        self,
        record_id: str,
        status: str,
        *,
        data: Mapping[str, Any] | None = None,
        error_message: str | None = None,
    ) -> None:
        """
        :param record_id: of the record, as the registration named it
        :param status: the verdict, a word of your own: `matched`, `not_found`, `error`, ...
        :param data: values to report with it, by field name
        :param error_message: what is wrong with the record
        :raises InvalidInput: there was a result for this record before, or it cannot be sent
        """
        row = {"record_id": record_id, "status": status, "data": data, "error_message": error_message}
        self.add_row({name: value for name, value in row.items() if value is not None})

    def add_row(self, row: Mapping[str, Any]) -> None:
        """A result as a row: `record_id`, `status`, `error_message`, and `data` or any other fields, which are data.

        :raises InvalidInput: likewise
        """
        from sluice_provider.apis.kaleidoscope.registration import result_record
        from sluice_provider.http.bodies import encode

        try:
            result = result_record(row)
            if result["record_id"] in self._known:
                raise InvalidInput(f"is the second one for record {result['record_id']}")
            line = encode(result)
        except InvalidInput as error:
            raise InvalidInput(f"result {self.count + 1} {error}") from None
        self._stream.write(line + b"\n")
        self._known.add(result["record_id"])
        self.count += 1


@contextmanager
def results_writer(path: Any) -> Iterator[ResultsWriter]:
    """Writes results for `KaleidoscopeSubmitRegistrationResultsOperator` as JSON Lines, wherever ObjectStoragePath
    reaches. The file is there when the block has ended well, and whole; a block that raised leaves nothing.

    :param path: path or URL of the file, ending in `.jsonl`
    :raises InvalidInput: nothing can be written there
    """
    from sluice_provider.sources.output_files import AtomicFile, split_file_path

    folder, name = split_file_path(path, "path")
    if not name.lower().endswith((".jsonl", ".ndjson")):
        raise InvalidInput(f"path must end in .jsonl, which is what is written; it is {name!r}")
    atomic_file = AtomicFile(folder, name, "path")
    with ExitStack() as undo:
        undo.callback(atomic_file.rollback)
        with closing(atomic_file.begin()) as stream:
            yield ResultsWriter(atomic_file.path, stream)
        atomic_file.commit()
        undo.pop_all()


def write_results(path: Any, rows: Iterable[Mapping[str, Any]]) -> str:
    """All results at once, from any iterable of rows (also a generator). Returns the path."""
    with results_writer(path) as results:
        for row in rows:
            results.add_row(row)
    return results.path
