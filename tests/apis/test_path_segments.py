"""Ids as parts of paths."""

from __future__ import annotations

import pytest

from sluice_provider.apis.paths import segment
from sluice_provider.errors import InvalidInput


@pytest.mark.parametrize(
    ("value", "quoted"), [("a-1", "a-1"), ("a/b", "a%2Fb"), ("é?#", "%C3%A9%3F%23"), ("...", "...")]
)
def test_segment(value, quoted):
    """One segment of a path, whatever is in it."""
    assert segment(value, "id") == quoted


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, 7, ["a"]])
def test_bad_segments(value):
    """They would name another endpoint, or none."""
    with pytest.raises(InvalidInput, match="import_id must be a non-empty id"):
        segment(value, "import_id")
