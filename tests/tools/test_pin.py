"""The pins of several Pythons become one file."""

from __future__ import annotations

import pin


def test_a_version_that_all_agree_on_is_one_line() -> None:
    """No marker where there is nothing to tell apart."""
    assert pin.merge({"3.10": {"a": "1"}, "3.11": {"a": "1"}}) == ["a==1"]


def test_a_package_only_some_pythons_need_has_no_marker() -> None:
    """A constraint does not ask for anything, so it may stand for all."""
    assert pin.merge({"3.10": {"a": "1", "backport": "2"}, "3.11": {"a": "1"}}) == ["a==1", "backport==2"]


def test_different_versions_get_markers() -> None:
    """Each Python finds exactly one line that applies to it."""
    merged = pin.merge({"3.10": {"a": "1"}, "3.11": {"a": "2"}, "3.12": {"a": "2"}})
    assert merged == [
        'a==1 ; python_version == "3.10"',
        'a==2 ; python_version == "3.11" or python_version == "3.12"',
    ]


def test_packages_are_sorted_by_name() -> None:
    """The file changes only where a version does."""
    assert pin.merge({"3.10": {"b": "1", "a": "1"}}) == ["a==1", "b==1"]


def test_the_report_gives_canonical_names_without_ourselves_and_the_clients() -> None:
    """We are what is being installed, and the vendor's client is tested in several versions."""
    names = ["Foo.Bar_baz", "airflow-provider-sluice", "kalbio"]
    report = {"install": [{"metadata": {"name": name, "version": "1"}} for name in names]}
    assert pin.pins_of(report) == {"foo-bar-baz": "1"}


def test_the_committed_file_names_no_place_and_pins_every_line() -> None:
    """Where packages come from is pip's configuration, not ours."""
    lines = [line for line in (pin.ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(names)
    assert all("==" in line and "://" not in line and " @ " not in line for line in lines)
