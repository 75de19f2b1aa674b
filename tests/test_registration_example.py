"""How the example DAG judges what people hand in: each file is answered, whatever is in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.airflow

DAG = Path(__file__).parents[1] / "dags_examples" / "kaleidoscope_registration.py"


@pytest.fixture(scope="module")
def example():
    """The file of the DAG."""
    spec = importlib.util.spec_from_file_location("kaleidoscope_registration", DAG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def judged(example, tmp_path):
    """What is answered for a file of these bytes."""

    def judge(content):
        path = tmp_path / "file.csv"
        path.write_bytes(content)
        return example.check.function({"path": str(path)})

    return judge


HEAD = b"record_id,name,formula\n"


@pytest.mark.parametrize("content", [HEAD + b"r1,Water,H2O\n", b"\xef\xbb\xbf" + HEAD + b" r1 ,Water,H2O\r\n"])
def test_valid_and_invalid_rows(judged, content):
    """Also from a spreadsheet, whose file starts with a byte order mark."""
    assert judged(content)["records"] == [
        {"record_id": "r1", "status": "matched", "data": {"name": "Water", "formula": "H2O"}}
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "at least one row"),
        (HEAD, "at least one row"),
        (b"id,formula\nr1,H2O\n", "columns"),
        (HEAD + b",Water,H2O\n", "no record_id"),
        (HEAD + b"r1,Water,H2O\nr1 ,Water,H2O\n", "more than once"),
        (HEAD + b'r1,"Water,H2O\n', "no CSV"),
        (b"PK\x03\x04\xff\xfe", "no CSV"),
        (HEAD + b"r1,\xe4,H2O\n", "no CSV"),
    ],
)
def test_an_unusable_file_is_reported(judged, content, words):
    """With an error, and no status that Kaleidoscope would reject."""
    answer = judged(content)
    assert (answer["status"], answer["records"]) == ("error", [])
    assert words in answer["message"]


def test_a_short_row_is_invalid_and_does_not_stop_the_run(judged):
    """As is one whose formula is none."""
    answer = judged(HEAD + b"r1,Water\nr2,Water,?,more,and more\n\n")
    assert [each["status"] for each in answer["records"]] == ["error", "error"]
