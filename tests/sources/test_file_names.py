"""Names from afar: whatever somebody called a file, it stays in its folder and deceives nobody."""

from __future__ import annotations

import pytest
from airflow.sdk import ObjectStoragePath

from sluice_provider.sources.file_names import MAX_BYTES, safe_file_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("data.csv", "data.csv"),
        ("Data (final) v2.csv", "Data (final) v2.csv"),
        ("Größe.csv", "Größe.csv"),
        ("Gro\u0308ße.csv", "Größe.csv"),
        ("/etc/passwd", "passwd"),
        ("../../etc/cron.d/evil", "evil"),
        ("..\\..\\windows\\system32\\evil.dll", "evil.dll"),
        ("C:\\temp\\x.csv", "x.csv"),
        ("c:x.csv", "c_x.csv"),
        ("a/b/", "b"),
        ("..", "the-id"),
        (".", "the-id"),
        ("", "the-id"),
        (None, "the-id"),
        ("   ", "the-id"),
        ("/", "the-id"),
        ("a/..", "the-id"),
        ("***", "the-id"),
        (".bashrc", "bashrc"),
        ("...x...", "x"),
        ("x.csv. . ", "x.csv"),
        ("a\0b.csv", "a_b.csv"),
        ("a\r\nb.csv", "a_b.csv".replace("_", "__")),
        ("evil\u202egpj.exe", "evil_gpj.exe"),
        ("zero\u200bwidth.csv", "zero_width.csv"),
        ("what?.csv", "what_.csv"),
        ("x.csv?sig=1#top", "x.csv_sig=1_top"),
        ("data [1].csv", "data _1_.csv"),
        ("s3::https://x", "x"),
        ("a::b", "a__b"),
        ("~root", "_root"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("console.csv", "console.csv"),
        ("\ud800.csv", "_.csv"),
        ("%2e%2e%2fx", "_2e_2e_2fx"),
    ],
)
def test_names_are_sanitized(given, name):
    """The last part, without what leads elsewhere, has a meaning to some system, or cannot be seen."""
    assert safe_file_name(given, "the-id") == name


def test_the_fallback_is_sanitized_too():
    """An id comes from afar, too."""
    assert safe_file_name("", "../x") == "x"
    assert safe_file_name("", "..") == "file"


def test_long_names_keep_their_extension():
    """In bytes, which is what file systems count, and never in the middle of a character."""
    name = safe_file_name("ä" * 300 + ".csv", "the-id")
    assert len(name.encode()) <= MAX_BYTES
    assert name.endswith("ä.csv")
    assert len(safe_file_name("x." + "y" * 300, "the-id").encode()) <= MAX_BYTES


@pytest.mark.parametrize("given", ["../x", "a/b\\c", "..\\..", "\0", "~", "a[1]*?.csv", "::", "nul", "." * 300])
def test_every_name_stays_in_its_directory(tmp_path, given):
    """Written and read back where it was meant to be, and nowhere else."""
    there = ObjectStoragePath(f"file://{tmp_path}") / safe_file_name(given, "the-id")
    there.write_bytes(b"x")
    assert [path.parent for path in tmp_path.rglob("*")] == [tmp_path]
