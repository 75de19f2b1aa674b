"""Rows in a temporary file: the same rows in the same order, and nothing left behind."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from pathlib import Path

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sources import spool as module
from sluice_provider.sources.spool import SEPARATOR, Batch, Spool, merge_ranges, subtract_ranges

ROWS = [b'{"n":%d,"text":"%s"}' % (number, b"x" * (number % 50)) for number in range(5000)]
RANGES = [range(start, stop) for start in range(6) for stop in range(start, 7)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def filled(rows, start=0):
    """A finished spool, and its digest."""
    spool = Spool(start)
    for at in range(0, len(rows), 700):
        some = rows[at : at + 700]
        spool.add(b"".join(row + SEPARATOR for row in some), len(some))
    return spool, spool.finish()


def rows_of(batch):
    """The rows in a batch."""
    return batch.text.split(b",\n")


def test_round_trip(monkeypatch):
    """As often as it is read, also by two readers at once, and whatever the buffer."""
    for buffer in (16, 1 << 20):
        monkeypatch.setattr(module, "BUFFER", buffer)
        spool, digest = filled(ROWS)
        assert (spool.text.split(b",\n"), spool.count, spool.size) == (ROWS, 5000, sum(map(len, ROWS)) + 2 * 5000)
        for one, other in zip(spool.batches(rows=7, size=10**6), spool.batches(rows=7, size=10**6), strict=True):
            assert one == other
            assert rows_of(one) == ROWS[one.start : one.start + one.size]
        assert digest == hashlib.sha256(b"".join(row + b",\n" for row in ROWS)).hexdigest()
        spool.close()


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [4, 5, 7, 200])
def test_every_row_is_in_one_batch(rows, size):
    """In order, consecutive, within both bounds, and none smaller than it need be."""
    for sizes in itertools.chain.from_iterable(itertools.product((1, 2, 4), repeat=count) for count in range(1, 6)):
        spool, _ = filled([bytes([65 + number]) * length for number, length in enumerate(sizes)])
        found = list(spool.batches(rows=rows, size=size))
        assert [row[0] - 65 for batch in found for row in rows_of(batch)] == list(range(len(sizes)))
        for batch, following in itertools.zip_longest(found, found[1:]):
            weight = len(batch.text) + 2
            assert rows_of(batch)[0][0] - 65 == batch.start
            assert 1 <= batch.size == len(rows_of(batch)) <= rows
            assert weight <= size or batch.size == 1
            assert following is None or batch.size == rows or weight + len(rows_of(following)[0]) + 2 > size
        spool.close()


@pytest.mark.parametrize("start", [0, 100])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_done_ranges_are_left_out(rows, start):
    """And no batch reaches over one, whatever was left out of the spool before."""
    spool, _ = filled([b"%d" % number for number in range(start, start + 6)], start)
    for pair in itertools.combinations(RANGES, 2):
        done = [range(each.start + start, each.stop + start) for each in pair]
        left = [number for number in range(start, start + 6) if not any(number in each for each in done)]
        found = list(spool.batches(rows=rows, size=100, done=done))
        assert [int(row) for batch in found for row in rows_of(batch)] == left
        for batch in found:
            assert [int(row) for row in rows_of(batch)] == list(range(batch.start, batch.start + batch.size))


@pytest.mark.parametrize("count", range(2, 8))
def test_halves(count):
    """Both have something in them, and together they are the whole."""
    whole = Batch(10, count, b",\n".join(b"%d" % number for number in range(count)))
    first, second = whole.halves()
    assert (first.start, second.start) == (10, 10 + first.size)
    assert rows_of(first) + rows_of(second) == rows_of(whole)
    assert (len(rows_of(first)), len(rows_of(second))) == (first.size, second.size)
    assert min(first.size, second.size) > 0


def test_ranges():
    """Merged, they are the same numbers in order, as few ranges as there can be, none of them empty; subtracted, the
    numbers that are left."""
    for given in itertools.product(RANGES, repeat=2):
        merged = merge_ranges(given)
        assert [number for each in merged for number in each] == sorted({number for each in given for number in each})
        assert all(one.stop < other.start for one, other in itertools.pairwise(merged))
        assert all(merged)
        left = [number for each in subtract_ranges(range(2, 5), given) for number in each]
        assert left == [number for number in range(2, 5) if not any(number in each for each in given)]


def test_nothing_is_left_behind(folder):
    """Not even while it is open, so that a process may be killed."""
    spool, _ = filled(ROWS)
    assert list(folder.iterdir()) == []
    assert spool.text.split(b",\n") == ROWS
    spool.close()
    assert list(folder.iterdir()) == []


def test_no_rows():
    """Have a digest, too."""
    spool, digest = filled([])
    assert (list(spool.batches(rows=1, size=1)), spool.text, len(digest)) == ([], b"", 64)


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS * 20], ids=["when it is finished", "on the way"])
def test_a_full_disk(monkeypatch, rows):
    """The error says what to do; another try may find space."""
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
