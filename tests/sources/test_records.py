"""Records from functions and mapped tasks, and fields that are renamed, selected and completed."""

from __future__ import annotations

from typing import Any

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.records import Mapped, mapped, wrap_function
from sluice_provider.sources.records import open_source
from tests.sources.chunked import located

ROWS = [{"symbol": "H", "n": 1}, {"symbol": "He", "n": 2}]


def read(records: Any, skip: int = 0) -> list[Any]:
    """All records with their positions."""
    return list(located(open_source(records).chunks(skip)))


def yielded() -> Any:
    """A generator function."""
    yield from ROWS


def test_functions(tmp_path):
    """What they yield or return, each time they are read; the path of a file, too."""
    path = tmp_path / "a.csv"
    path.write_text("symbol\nH\n")
    for function in (yielded, lambda: ROWS, lambda: iter(ROWS), lambda: tuple(ROWS)):
        source = open_source(wrap_function(function))
        for _ in range(2):
            assert [record for _, record in located(source.chunks())] == ROWS
    assert read(lambda: str(path)) == [("line 2", {"symbol": "H"})]
    with pytest.raises(InvalidInput, match="the function yielded: record 2 is a int"):
        read(_named("yielded", lambda: iter([{}, 7])))
    with pytest.raises(
        InvalidInput, match="the function nothing returned something else than records: records is None"
    ):
        read(_named("nothing", lambda: None))


def _named(name: str, function: Any) -> Any:
    function.__name__ = name
    return function


def test_generators_can_be_read_once():
    """A second reading would find nothing, and is refused."""
    source = open_source(yielded())
    assert len(list(located(source.chunks()))) == 2
    with pytest.raises(InvalidInput, match="can be read only once: pass the function that makes it"):
        list(source.chunks())


def test_results_of_a_mapped_task(tmp_path):
    """One list after the other; each record knows which one it is from."""
    path = tmp_path / "a.csv"
    path.write_text("symbol\nLi\n")
    found = read([ROWS, [], ROWS[:1], str(path)])
    assert found == [
        ("number 1 (the given list): record 1", ROWS[0]),
        ("number 1 (the given list): record 2", ROWS[1]),
        ("number 3 (the given list): record 1", ROWS[0]),
        (f"number 4 ({path}): line 2", {"symbol": "Li"}),
    ]
    assert read([ROWS, ROWS], skip=3) == [("number 2 (the given list): record 2", ROWS[1])]


@pytest.mark.parametrize(
    ("columns", "constants", "first"),
    [
        (None, None, {"symbol": "H", "n": 1}),
        (["symbol"], None, {"symbol": "H"}),
        ({"symbol": "Symbol"}, None, {"Symbol": "H"}),
        ({"symbol": "Symbol", "*": "*"}, None, {"Symbol": "H", "n": 1}),
        (["*"], {"source": "lab"}, {"symbol": "H", "n": 1, "source": "lab"}),
        (None, {"source": "lab"}, {"symbol": "H", "n": 1, "source": "lab"}),
        ({"n": "symbol", "symbol": "n"}, None, {"symbol": 1, "n": "H"}),
        (["symbol", "absent"], None, {"symbol": "H"}),
    ],
)
def test_columns_and_constants(columns, constants, first):
    """Selected, renamed, completed; a field that a record does not have is not there."""
    found = read(mapped(ROWS, columns, constants))
    assert found[0] == ("record 1", first)
    assert len(found) == 2


def test_columns_of_a_table(tmp_path):
    """Their names are known, so one that is not there is found before a record is read. The digest is of both."""
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,\n")
    source = open_source(Mapped(str(path), {"b": "B", "a": "A"}, {"c": "x"}))
    (chunk,) = source.chunks()
    assert (chunk.columns, list(chunk.records), chunk.only_strings) == (("B", "A", "c"), [{"A": "1", "c": "x"}], True)
    others = [open_source(Mapped(str(path), columns, None)) for columns in (["a"], ["b"], {"a": "b"})]
    for each in others:
        list(each.chunks())
    assert len({source.sha256, *(each.sha256 for each in others)}) == 4
    (chunk,) = open_source(Mapped(str(path), None, {"c": 1})).chunks()
    assert not chunk.only_strings
    with pytest.raises(
        InvalidInput, match=r"there is no column 'z', which the argument columns names; .* are 'a', 'b'"
    ):
        read(Mapped(str(path), ["z"], None))


@pytest.mark.parametrize(
    ("columns", "constants", "words"),
    [
        ("symbol", None, "columns must be a list of column names"),
        ([1], None, "non-empty strings, not 1"),
        ({"symbol": ""}, None, "non-empty strings, not ''"),
        ({"symbol": "x", "n": "x"}, None, "two columns the same field name"),
        ({"*": "x"}, None, "write {'\\*': '\\*'}"),
        ({"symbol": "n", "*": "*"}, None, "record 1 has a field 'n' itself"),
        (None, {"n": 2}, "record 1 has a field 'n' itself"),
        (["n"], {"n": 2}, "columns and constants both give the field 'n'"),
        (None, ["n"], "constants must be a dict"),
    ],
)
def test_invalid_columns(columns, constants, words):
    """Nothing is overwritten silently."""
    with pytest.raises(InvalidInput, match=words):
        read(Mapped(ROWS, columns, constants))
