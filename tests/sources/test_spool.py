"""Rows in a temporary file: what was judged is what is sent, as often as it takes."""

from __future__ import annotations

import errno
import hashlib
import io

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sources import spool as module
from sluice_provider.sources.batches import Batch
from sluice_provider.sources.spool import Spool

ROWS = [b'{"a":1}', b"", b"x" * 100_000, "é".encode()]


@pytest.fixture
def spool():
    """Filled and sealed."""
    spool = Spool()
    for row in ROWS:
        spool.add(row)
    spool.seal()
    yield spool
    spool.close()


class Full(io.BytesIO):
    """A file on a disk without room."""

    def write(self, _):
        """As the system says it."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_rows_come_back(spool):
    """As often as they are wanted, also while somebody else reads."""
    assert list(spool) == ROWS
    assert list(zip(spool, spool, strict=True)) == list(zip(ROWS, ROWS, strict=True))
    assert spool.count == len(ROWS)


def test_batches(spool):
    """What is done is left out."""
    assert list(spool.batches(rows=2, size=1_000, done=[range(2, 3)])) == [
        Batch(0, (ROWS[0], ROWS[1])),
        Batch(3, (ROWS[3],)),
    ]


def test_the_digest_is_that_of_the_rows(spool):
    """In their order: it tells this piece of work from any other."""
    assert spool.seal() == hashlib.sha256(b"".join(row + b"\n" for row in ROWS)).hexdigest()


def test_it_leaves_nothing_behind(spool, tmp_path, monkeypatch):
    """The file has no name, even while it is open."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = Spool()
    other.add(b"x")
    assert list(tmp_path.iterdir()) == []
    other.close()
    other.close()


def test_no_room(monkeypatch):
    """Names the cure, and another try may find room."""
    monkeypatch.setattr(module, "TemporaryFile", lambda **_: Full())
    with pytest.raises(InvalidInput, match=r"No space left on device.*TMPDIR") as error:
        Spool().add(b"x")
    assert not error.value.hopeless


def test_no_place(monkeypatch, tmp_path):
    """Likewise, where there is no directory for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="Nothing was sent"):
        Spool()
