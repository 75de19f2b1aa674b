"""Rows in a temporary file: the same rows in the same order, and nothing left behind."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sources import spool as module
from sluice_provider.sources.spool import Spool

ROWS = [b'{"n":%d,"text":"%s"}' % (number, b"x" * (number % 50)) for number in range(5000)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def filled(rows):
    """A sealed spool, and its digest."""
    spool = Spool()
    for row in rows:
        spool.add(row)
    return spool, spool.finish()


def test_round_trip(monkeypatch):
    """As often as it is read, also by two readers at once, and whatever the buffer."""
    for buffer in (16, 1 << 20):
        monkeypatch.setattr(module, "BUFFER", buffer)
        spool, digest = filled(ROWS)
        assert (list(spool), spool.count) == (ROWS, 5000)
        assert [each for pair in zip(spool, spool, strict=True) for each in pair] == [
            r for row in ROWS for r in (row, row)
        ]
        assert digest == hashlib.sha256(b"".join(row + b"\n" for row in ROWS)).hexdigest()
        spool.close()


def test_batches_leave_out_done_ranges():
    """The rest, in order."""
    spool, _ = filled(ROWS)
    batches = list(spool.batches(rows=1000, size=10**6, done=[range(500, 4500)]))
    assert [batch.start for batch in batches] == [0, 4500]
    assert [row for batch in batches for row in batch.rows] == ROWS[:500] + ROWS[4500:]


def test_nothing_is_left_behind(folder):
    """Not even while it is open, so that a process may be killed."""
    spool, _ = filled(ROWS)
    assert list(folder.iterdir()) == []
    assert list(spool) == ROWS
    spool.close()
    assert list(folder.iterdir()) == []


def test_no_rows():
    """Have a digest, too."""
    spool, digest = filled([])
    assert (list(spool), len(digest)) == ([], 64)


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS * 20], ids=["when it is sealed", "on the way"])
def test_a_full_disk(monkeypatch, rows):
    """Is said in words that tell what to do; another try may find room."""
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    monkeypatch.setattr(module, "TemporaryFile", lambda **_: Path("/dev/full").open("w+b"))  # noqa: SIM115
    with pytest.raises(InvalidInput, match=r"No space left on device.*Nothing was sent.*TMPDIR") as full:
        filled(rows)
    assert full.value.retryable


def test_no_directory_for_temporary_files(folder, monkeypatch):
    """Likewise."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    with pytest.raises(InvalidInput, match=r"nowhere, .*: No such file or directory"):
        Spool()
