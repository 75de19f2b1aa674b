"""Batches and ranges, over all small cases: every row exactly once, and no bound broken."""

from __future__ import annotations

import itertools

import pytest

from sluice_provider.sources.batches import Batch, batches, merge_ranges

RANGES = [range(start, stop) for start in range(6) for stop in range(start, 7)]


def made(sizes, rows, size, done=()):
    """Batches of rows that weigh so much, with the one byte that each row has besides."""
    source = (bytes([number]) * (weight - 1) for number, weight in enumerate(sizes))
    return list(batches(source, rows=rows, size=size, done=done))


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [2, 4, 5, 100])
def test_every_row_once(rows, size):
    """In order, consecutive, within both bounds, and none smaller than it need be."""
    for sizes in itertools.chain.from_iterable(itertools.product((2, 3, 6), repeat=count) for count in range(6)):
        found = made(sizes, rows, size)
        assert [row[0] for batch in found for row in batch.rows] == list(range(len(sizes)))
        for batch, following in itertools.zip_longest(found, found[1:]):
            weight = sum(len(row) + 1 for row in batch.rows)
            assert batch.rows[0][0] == batch.start
            assert 1 <= len(batch.rows) <= rows
            assert weight <= size or len(batch.rows) == 1
            assert following is None or len(batch.rows) == rows or weight + len(following.rows[0]) + 1 > size


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_done_ranges_are_left_out(rows):
    """Are left out, and no batch reaches over one."""
    for done in itertools.combinations(RANGES, 2):
        left = [number for number in range(6) if not any(number in each for each in done)]
        found = made([2] * 6, rows, 100, done)
        assert [row[0] for batch in found for row in batch.rows] == left
        for batch in found:
            assert [row[0] for row in batch.rows] == list(range(batch.start, batch.start + len(batch.rows)))


def test_a_source_is_read_lazily():
    """The first batch is there before the second is read."""
    endless = (b"%d" % number for number in itertools.count())
    first = next(batches(endless, rows=2, size=9))
    assert first == Batch(0, (b"0", b"1"))
    assert int(next(endless)) <= 4


@pytest.mark.parametrize("count", range(2, 8))
def test_halves(count):
    """Both have something in them, and together they are the whole."""
    whole = Batch(10, tuple(b"%d" % number for number in range(count)))
    first, second = whole.halves()
    assert (first.start, second.start) == (10, 10 + len(first.rows))
    assert first.rows + second.rows == whole.rows
    assert first.rows
    assert second.rows


def test_merged_ranges():
    """The same numbers, in order, as few ranges as there can be, none of them empty."""
    for ranges in itertools.chain.from_iterable(itertools.combinations(RANGES, size) for size in range(4)):
        found = merge_ranges(ranges)
        assert {number for each in found for number in each} == {number for each in ranges for number in each}
        assert all(found)
        assert all(one.stop < two.start for one, two in itertools.pairwise(found))
