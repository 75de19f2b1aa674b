"""The example tables are what their README says."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "dags_examples" / "data"


def _csv(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def elements() -> list[dict[str, str]]:
    """Return the elements, in the order of the file."""
    return _csv("elements.csv")


@pytest.fixture(scope="module")
def compounds() -> list[dict[str, Any]]:
    """Return the compounds."""
    return [json.loads(line) for line in (DATA / "compounds.jsonl").read_text().splitlines()]


def test_there_are_118_elements_in_order(elements: list[dict[str, str]]) -> None:
    """By atomic number, each symbol and name once."""
    assert [int(row["atomic_number"]) for row in elements] == list(range(1, 119))
    assert len({row["symbol"] for row in elements}) == len({row["name"] for row in elements}) == 118


def test_the_periodic_table_has_its_shape(elements: list[dict[str, str]]) -> None:
    """Seven periods, 18 groups, four blocks, eleven gases and two liquids."""
    assert list(Counter(row["period"] for row in elements).values()) == [2, 8, 8, 18, 18, 32, 32]
    assert Counter(row["block"] for row in elements) == {"s": 14, "p": 36, "d": 40, "f": 28}
    assert {row["group"] for row in elements} == {"", *map(str, range(1, 19))}
    phases = Counter(row["phase"] for row in elements)
    assert (phases["gas"], phases["liquid"]) == (11, 2)


def test_weights_rise_but_for_the_known_exceptions(elements: list[dict[str, str]]) -> None:
    """A typing error would show: there are few pairs in which the heavier element comes first."""
    weights = [(row["symbol"], float(row["atomic_weight"])) for row in elements]
    falls = {a for (a, before), (_, after) in pairwise(weights) if after < before}
    assert falls == {"Ar", "Co", "Te", "Th", "U", "Pu", "Bh"}


def test_compounds_are_complete_and_unique(compounds: list[dict[str, Any]]) -> None:
    """Every compound has a structure, and is there once."""
    assert len(compounds) >= 120
    assert all(row["smiles"] and row["category"] for row in compounds)
    for key in ("name", "smiles"):
        assert len({row[key] for row in compounds}) == len(compounds)


def test_molecular_weights_follow_from_formula_and_elements(
    compounds: list[dict[str, Any]], elements: list[dict[str, str]]
) -> None:
    """The two tables agree with each other."""
    weight = {row["symbol"]: float(row["atomic_weight"]) for row in elements}
    for row in compounds:
        parts = re.findall(r"([A-Z][a-z]?)(\d*)", row["formula"])
        expected = sum(weight[symbol] * int(count or 1) for symbol, count in parts)
        assert row["molecular_weight"] == pytest.approx(expected, abs=0.05), row["name"]


def test_measurements_are_of_known_compounds_on_three_days(compounds: list[dict[str, Any]]) -> None:
    """Every sample is pushed at most once a day, and some again on a later day."""
    rows = _csv("measurements.csv")
    by_day = Counter(row["measured_at"][:10] for row in rows)
    assert sorted(by_day) == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert len({(row["id"], row["measured_at"][:10]) for row in rows}) == len(rows) > len({row["id"] for row in rows})
    assert {row["compound"] for row in rows} <= {row["name"] for row in compounds}
