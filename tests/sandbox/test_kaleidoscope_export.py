"""Export of records as CSV: columns, filters, sorts, and invalid parameters."""

from __future__ import annotations

import csv
import io
import json

import pytest

ROWS = (
    {"symbol": "H", "name": "Hydrogen", "atomic_number": 1},
    {"symbol": "He", "name": 'Helium, "noble"', "atomic_number": 2, "radioactive": False},
    {"symbol": "U", "atomic_number": 92, "radioactive": True},
)


@pytest.fixture
def world(kal, sluice_sandbox):
    """Three elements, the last one of the operation, and one compound."""
    ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
    kal.push(*ROWS[:2])
    kal.push(ROWS[2], operation_id=ids["operation_id"])
    kal.push({"name": "Aspirin"}, keys=("name",))
    fields = {each["field_name"]: each["id"] for each in kal.get("data_fields").json()}
    return ExportRequests(kal, ids, fields)


class ExportRequests:
    """The workspace and its export."""

    def __init__(self, kal, ids, fields):
        self.kal, self.ids, self.fields = kal, ids, fields
        self.element = ids["entity_slices"]["Element"]

    def answer(self, **params):
        return self.kal.get("records/export/csv", **{"filename": "x.csv", "entity_slice_id": self.element, **params})

    def rows(self, **params):
        answer = self.answer(**params)
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))

    def symbols(self, **params):
        return [row["symbol"] for row in self.rows(**params)]


def test_export(world):
    """Key fields, then fields with a value; as an attachment with the given name."""
    answer = world.answer(filename="my elements.csv")
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"].startswith('attachment; filename="my elements.csv"')
    assert answer.text.splitlines()[0] == "symbol,name,atomic_number,radioactive"
    assert world.rows() == [
        {"symbol": "H", "name": "Hydrogen", "atomic_number": "1", "radioactive": ""},
        {"symbol": "He", "name": 'Helium, "noble"', "atomic_number": "2", "radioactive": "false"},
        {"symbol": "U", "name": "", "atomic_number": "92", "radioactive": "true"},
    ]


def test_export_of_another_entity(world):
    """Only its own records and key."""
    assert world.answer(entity_slice_id=world.ids["entity_slices"]["Compound"]).text == "name\r\nAspirin\r\n"
    assert world.answer(entity_slice_id=world.ids["entity_slices"]["Sample"]).text == "id\r\n"


def test_columns(world):
    """All of the view, or the given ones in their order."""
    columns = world.answer(record_view_id=world.ids["record_view_id"]).text.splitlines()[0].split(",")
    assert columns == ["symbol", *world.fields]
    named = ",".join(world.fields[name] for name in ("density", "atomic_number"))
    assert world.answer(view_field_ids=named).text.splitlines()[:2] == ["symbol,density,atomic_number", "H,,1"]


def test_record_selection(world):
    """By operation and by search text."""
    assert world.symbols(operation_id=world.ids["operation_id"]) == ["U"]
    assert world.symbols(search_text="h") == ["H", "He"]
    assert world.symbols(search_text="h", operation_id=world.ids["operation_id"]) == []
    assert world.symbols(program_id=world.ids["program_id"]) == ["H", "He", "U"]


@pytest.mark.parametrize(
    ("field", "rule", "value", "expected"),
    [
        ("name", "is_set", None, ["H", "He"]),
        ("name", "is_empty", None, ["U"]),
        ("atomic_number", "is_equal", 2, ["He"]),
        ("atomic_number", "is_not_equal", 2, ["H", "U"]),
        ("atomic_number", "is_less_than", 2, ["H"]),
        ("atomic_number", "is_greater_than", 1, ["He", "U"]),
        ("atomic_number", "is_greater_than", "x", []),
        ("name", "includes", "eli", ["He"]),
        ("name", "starts_with", "Hy", ["H"]),
        ("name", "ends_with", "gen", ["H"]),
    ],
)
def test_filters(world, field, rule, value, expected):
    """One object or a list, for a view or for the entity."""
    one = {"field_id": world.fields[field], "filter_type": rule, "filter_prop": value}
    assert world.symbols(view_field_filters=json.dumps(one)) == expected
    both = [one, {"field_id": world.fields["atomic_number"], "filter_type": "is_set"}]
    assert world.symbols(entity_field_filters=json.dumps(both)) == expected


def test_sorts(world):
    """Missing values come first, descending last; the first sort is the primary one."""

    def sort(field, down=False):
        return {"field_id": world.fields[field], "descending": down}

    assert world.symbols(view_field_sorts=json.dumps(sort("atomic_number", down=True))) == ["U", "He", "H"]
    assert world.symbols(entity_field_sorts=json.dumps([sort("radioactive"), sort("name")])) == ["H", "He", "U"]
    assert world.symbols(entity_field_sorts=json.dumps([sort("name")])) == ["U", "He", "H"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"filename": ""}, 400),
        ({"entity_slice_id": ""}, 400),
        ({"surprise": "x"}, 400),
        ({"view_field_filters": "{"}, 400),
        ({"view_field_filters": "[1]"}, 400),
        ({"entity_field_sorts": '"x"'}, 400),
        ({"entity_slice_id": "other"}, 404),
        ({"record_view_id": "other"}, 404),
        ({"operation_id": "other"}, 404),
        ({"program_id": "other"}, 404),
        ({"record_set_ids": "other"}, 404),
        ({"identifier_ids": "other"}, 404),
        ({"view_field_ids": "other"}, 404),
        ({"entity_field_filters": '{"field_id": "other"}'}, 404),
    ],
)
def test_invalid_parameters(world, params, status):
    """400 or 404 with a reason."""
    answer = world.answer(**params)
    assert (answer.status_code, bool(answer.json()["message"])) == (status, True)


def test_an_unsupported_filter(world):
    """400 with the supported filters."""
    one = {"field_id": world.fields["name"], "filter_type": "is_last_week"}
    answer = world.answer(view_field_filters=json.dumps(one))
    assert answer.status_code == 400
    assert "is_set" in answer.json()["message"]


def test_export_of_many_records(world):
    """More than one chunk of the response; each record once and in order."""
    world.kal.push(*({"id": f"S{number}"} for number in range(1234)), keys=("id",))
    rows = world.rows(entity_slice_id=world.ids["entity_slices"]["Sample"])
    assert [row["id"] for row in rows] == [f"S{number}" for number in range(1234)]
