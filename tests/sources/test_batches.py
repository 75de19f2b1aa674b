"""Batches and stretches, over all small cases: every record exactly once, and no bound broken."""

from __future__ import annotations

import itertools

import pytest

from sluice_provider.sources.batches import Batch, batches, joined

STRETCHES = [range(start, stop) for start in range(6) for stop in range(start, 7)]


def made(sizes, rows, size, done=()):
    """Batches of records of these sizes."""
    records = [{"number": number, "size": weight} for number, weight in enumerate(sizes)]
    return list(batches(records, rows=rows, size=size, measure=lambda record: record["size"], done=done))


def numbers(batch):
    """Which records are in it."""
    return [record["number"] for record in batch.records]


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_every_record_once(rows, size):
    """In order, consecutive, within both bounds, and none smaller than it need be."""
    for sizes in itertools.chain.from_iterable(itertools.product((1, 2, 5), repeat=count) for count in range(6)):
        found = made(sizes, rows, size)
        assert [number for batch in found for number in numbers(batch)] == list(range(len(sizes)))
        for batch, following in itertools.zip_longest(found, found[1:]):
            weight = sum(record["size"] for record in batch.records)
            assert numbers(batch)[0] == batch.start
            assert 1 <= len(batch.records) <= rows
            assert weight <= size or len(batch.records) == 1
            assert following is None or len(batch.records) == rows or weight + following.records[0]["size"] > size


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_stretches_that_are_done(rows):
    """Are left out, and no batch reaches over one."""
    for done in itertools.combinations(STRETCHES, 2):
        left = [number for number in range(6) if not any(number in stretch for stretch in done)]
        found = made([1] * 6, rows, 100, done)
        assert [number for batch in found for number in numbers(batch)] == left
        for batch in found:
            assert numbers(batch) == list(range(batch.start, batch.start + len(batch.records)))


def test_what_is_done_is_not_measured():
    """It may be what cannot be measured at all."""
    assert [batch.start for batch in made([1, None, 1], 9, 9, [range(1, 2)])] == [0, 2]


def test_a_source_is_read_as_it_is_needed():
    """The first batch is there before the second is read."""
    endless = ({"number": number} for number in itertools.count())
    first = next(batches(endless, rows=2, size=9, measure=lambda _: 1))
    assert numbers(first) == [0, 1]
    assert next(endless)["number"] <= 4


@pytest.mark.parametrize("count", range(2, 8))
def test_halves(count):
    """Both have something in them, and together they are the whole."""
    whole = Batch(10, tuple({"number": number} for number in range(count)))
    first, second = whole.halves()
    assert (first.start, second.start) == (10, 10 + len(first.records))
    assert first.records + second.records == whole.records
    assert first.records
    assert second.records


def test_joined():
    """The same numbers, in order, as few stretches as there can be, none of them empty."""
    for stretches in itertools.chain.from_iterable(itertools.combinations(STRETCHES, size) for size in range(4)):
        found = joined(stretches)
        assert {number for stretch in found for number in stretch} == {n for stretch in stretches for n in stretch}
        assert all(found)
        assert all(one.stop < two.start for one, two in itertools.pairwise(found))
