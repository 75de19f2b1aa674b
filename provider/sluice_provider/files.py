"""Files for the Python code between two tasks: a local copy to read, and results to write.

    @task
    def process(download: dict, out: str) -> str:
        with local_copy(download) as path, results_writer(out) as results:
            for row in csv.DictReader(path.open()):
                results.add(row["id"], "matched", data={"name": row["name"]})
        return results.path

Tasks pass a path to each other: rows are too large for an XCom.
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

    A local file is used in place. Any other file is streamed, under its own name, into a temporary folder, which is
    deleted afterwards.

    :param source: path or URL, `ObjectStoragePath`, or the result of a download operator, whose size and checksum are
        then compared
    :raises InvalidInput: there is no such file, or it is not the one that was downloaded
    """
    from sluice_provider.sources.file_names import safe_file_name
    from sluice_provider.sources.input_files import InputFile

    expected: Mapping[str, Any] = source if isinstance(source, Mapping) else {"path": source}
    file = InputFile(expected.get("path"), "source")
    local = file.local
    if local is not None:
        _compare(file.name, expected, bytes=local.stat().st_size)
        if expected.get("sha256"):
            _compare(file.name, expected, sha256=file.sha256())
        yield local
        return
    with TemporaryDirectory(prefix="sluice-") as folder:
        copy = Path(folder) / safe_file_name(file.filename, "file")
        size, sha256 = file.fetch(copy)
        _compare(file.name, expected, bytes=size, sha256=sha256)
        yield copy


def _compare(name: str, expected: Mapping[str, Any], **found: Any) -> None:
    for member, value in found.items():
        if expected.get(member) not in (None, value):
            raise InvalidInput(
                f"source: {name} has changed since it was downloaded: {member} is {value}, and was {expected[member]}. "
                "Clear the download task to download it again"
            )


class ResultsWriter:
    """Results for single records, written one by one. Made by `results_writer`.

    :param path: of the file, which exists once all are written
    """

    def __init__(self, path: str, stream: IO[bytes]) -> None:
        self.path = path
        self.count = 0
        self._stream = stream
        self._record_ids: set[str] = set()

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
        :param status: of the record, a word of your own: `matched`, `not_found`, `error`, ...
        :param data: values to report with it, by field name
        :param error_message: what is wrong with the record
        :raises InvalidInput: the record has a result already, or this one cannot be sent
        """
        row = {"record_id": record_id, "status": status, "data": data, "error_message": error_message}
        self.add_row({name: value for name, value in row.items() if value is not None})

    def add_row(self, row: Mapping[str, Any]) -> None:
        """A result as a row: `record_id`, `status`, `error_message`, and `data` or any other fields, which are data.

        :raises InvalidInput: the record has a result already, or this one cannot be sent
        """
        from sluice_provider.apis.kaleidoscope.result_rows import result_record
        from sluice_provider.http.bodies import encode

        try:
            result = result_record(row)
            if result["record_id"] in self._record_ids:
                raise InvalidInput(f"is the second one for record {result['record_id']}: give one result per record")
            line = encode(result)
        except InvalidInput as error:
            raise InvalidInput(f"result {self.count + 1} {error}") from None
        self._stream.write(line + b"\n")
        self._record_ids.add(result["record_id"])
        self.count += 1


@contextmanager
def results_writer(path: Any) -> Iterator[ResultsWriter]:
    """Writes results for `KaleidoscopeSubmitRegistrationResultsOperator` as JSON Lines, wherever ObjectStoragePath
    reaches. The file appears when the block ends; if the block raises, there is no file.

    :param path: path or URL of the file, ending in `.jsonl`
    :raises InvalidInput: nothing can be written there
    """
    from sluice_provider.sources.output_files import AtomicFile, split_file_path

    folder, name = split_file_path(path, "path")
    if not name.lower().endswith((".jsonl", ".ndjson")):
        raise InvalidInput(f"path must end in .jsonl, because results are written as JSON Lines; it is {name!r}")
    atomic_file = AtomicFile(folder, name, "path")
    with ExitStack() as undo:
        undo.callback(atomic_file.rollback)
        with closing(atomic_file.begin()) as stream:
            yield ResultsWriter(atomic_file.path, stream)
        atomic_file.commit()
        undo.pop_all()


def write_results(path: Any, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write all results at once, from any iterable of rows (also a generator), and return the path."""
    with results_writer(path) as results:
        for row in rows:
            results.add_row(row)
    return results.path
