"""The vendor's own client works unchanged with the mock Kili, with all its checks.

Also the results of its synchronisation under the conditions that the provider must handle:
`tests/operators/test_kili_faults.py`.
"""

from __future__ import annotations

import pytest

from tests.kili_vendor import session

pytestmark = pytest.mark.vendor


@pytest.fixture(scope="module")
def report(_sluice_server, tmp_path_factory):
    """The output of a whole session; it is slow, so it runs once."""
    _sluice_server.reset()
    ids = _sluice_server.state()["kili"]["ids"]
    return {**session(_sluice_server.url, tmp_path_factory.mktemp("home")), "ids": ids}


def test_list_and_count(report):
    """Integrations and connections, also by its newer code, which reads other fields."""
    ids, around = report["ids"], report["around"]
    assert around["integrations"] == [ids["integration_id"], ids["azure_id"]]
    assert around["connections"] == around["domain"] == [ids["connection_id"]]
    assert (around["connected"], around["connection"]) == (2, 0)


def test_synchronise(report):
    """A dry run adds nothing; removed files stay unless deletion is requested."""
    done = report["synchronised"]
    assert (done["dry"], done["first"]) == ([], 3)
    assert done["kept"] == ["cats/one.png", "cats/three.png", "cats/two.png", "dogs/one.png"]
    assert done["deleted"] == ["cats/three.png", "cats/two.png", "dogs/one.png"]


def test_add(report):
    """With prefix and exclude."""
    assert report["added"]["assets"] == ["cats/three.png"]


@pytest.mark.parametrize(
    ("condition", "error", "assets"),
    [
        ("late flag", None, 0),  # W1: acts on the summary from before, which is none
        ("long check", "ValueError", 0),  # W2: gives up after five minutes
        ("foreign assets", "ValueError", 3),  # W3: the work was done, and it says that it was not
        ("lost answer", "MutationOutcomeUnknownError", 3),  # W4: the work was done, and the client does not check
        ("odd total", None, 0),  # W6: nothing was done, and it says that all was
    ],
)
def test_weaknesses_of_the_clients_synchronisation(report, condition, error, assets):
    """The vendor's algorithm fails under the conditions that the provider's tests use."""
    assert report["weak"][condition] == {"error": error, "assets": assets}
