"""Batches and ranges, over all small cases: every row exactly once, and no bound broken."""

from __future__ import annotations

import itertools

import pytest

from sluice_provider.sources.batches import Batch, batches, joined

RANGES = [range(start, stop) for start in range(6) for stop in range(start, 7)]


def rows_of(sizes):
    """Rows that weigh this much: one more than they have bytes."""
    return [bytes([65 + number]) * (weight - 1) for number, weight in enumerate(sizes)]


def numbers(batch):
    """Which rows are in it, if they are where it says."""
    return list(range(batch.start, batch.start + len(batch.rows)))


def weight(rows):
    """As a service counts them: each with what stands between it and the next."""
    return sum(len(row) + 1 for row in rows)


@pytest.mark.parametrize("most", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_every_row_once(most, size):
    """In order, consecutive, within both bounds, and none smaller than it need be."""
    for sizes in itertools.chain.from_iterable(itertools.product((1, 2, 5), repeat=count) for count in range(6)):
        source = rows_of(sizes)
        found = list(batches(source, rows=most, size=size))
        assert [number for batch in found for number in numbers(batch)] == list(range(len(sizes)))
        assert [row for batch in found for row in batch.rows] == source
        for batch, following in itertools.zip_longest(found, found[1:]):
            assert 1 <= len(batch.rows) <= most
            assert weight(batch.rows) <= size or len(batch.rows) == 1
            full = following and weight([*batch.rows, following.rows[0]]) > size
            assert following is None or len(batch.rows) == most or full


@pytest.mark.parametrize("most", [1, 2, 9])
def test_ranges_that_are_done(most):
    """Are left out, and no batch reaches over one."""
    source = rows_of([2] * 6)
    for done in itertools.combinations(RANGES, 2):
        left = [number for number in range(6) if not any(number in each for each in done)]
        found = list(batches(source, rows=most, size=100, done=done))
        assert [number for batch in found for number in numbers(batch)] == left
        assert [row for batch in found for row in batch.rows] == [source[number] for number in left]


def test_a_source_is_read_as_it_is_needed():
    """The first batch is there before the second is read."""
    endless = (str(number).encode() for number in itertools.count())
    first = next(batches(endless, rows=2, size=99))
    assert first == Batch(0, (b"0", b"1"))
    assert int(next(endless)) <= 4


@pytest.mark.parametrize("count", range(2, 8))
def test_halves(count):
    """Both have something in them, and together they are the whole."""
    whole = Batch(10, tuple(rows_of([2] * count)))
    first, second = whole.halves()
    assert (first.start, second.start) == (10, 10 + len(first.rows))
    assert first.rows + second.rows == whole.rows
    assert first.rows
    assert second.rows


def test_joined():
    """The same numbers, in order, as few ranges as there can be, none of them empty."""
    for ranges in itertools.chain.from_iterable(itertools.combinations(RANGES, size) for size in range(4)):
        found = joined(ranges)
        assert {number for each in found for number in each} == {number for each in ranges for number in each}
        assert all(found)
        assert all(one.stop < two.start for one, two in itertools.pairwise(found))
