"""The vendor's own client works against the pretended Kili unchanged, with all its checks on.

And what becomes of its way to synchronise under conditions that ours must stand:
`tests/operators/test_kili_faults.py`.
"""

from __future__ import annotations

import pytest

from tests.kili_vendor import session

pytestmark = pytest.mark.vendor


@pytest.fixture(scope="module")
def told(_sluice_server, tmp_path_factory):
    """What a whole session tells; the longest test here, so it runs once."""
    _sluice_server.reset()
    ids = _sluice_server.state()["kili"]["ids"]
    return {**session(_sluice_server.url, tmp_path_factory.mktemp("home")), "ids": ids}


def test_it_lists_and_counts(told):
    """Integrations and connections, also by its newer half, which asks for other fields."""
    ids, around = told["ids"], told["around"]
    assert around["integrations"] == [ids["integration_id"], ids["azure_id"]]
    assert around["connections"] == around["domain"] == [ids["connection_id"]]
    assert (around["connected"], around["connection"]) == (2, 0)


def test_it_synchronises(told):
    """A dry run adds nothing; what is gone stays unless deletion is asked for."""
    done = told["synchronised"]
    assert (done["dry"], done["first"]) == ([], 3)
    assert done["kept"] == ["cats/one.png", "cats/three.png", "cats/two.png", "dogs/one.png"]
    assert done["deleted"] == ["cats/three.png", "cats/two.png", "dogs/one.png"]


def test_it_adds(told):
    """With a prefix, and with what is excluded."""
    assert told["added"]["assets"] == ["cats/three.png"]


@pytest.mark.parametrize(
    ("condition", "error", "assets"),
    [
        ("late flag", None, 0),  # W1: acts on the summary from before, which is none
        ("long check", "ValueError", 0),  # W2: gives up after five minutes
        ("foreign assets", "ValueError", 3),  # W3: the work was done, and it says that it was not
        ("lost answer", "MutationOutcomeUnknownError", 3),  # W4: the work was done, and it does not look
        ("odd total", None, 0),  # W6: nothing was done, and it says that all was
    ],
)
def test_its_way_to_synchronise_is_weak(told, condition, error, assets):
    """So a test of ours under the same condition is a test that the vendor's algorithm fails."""
    assert told["weak"][condition] == {"error": error, "assets": assets}
