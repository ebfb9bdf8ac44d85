"""Versions next to their lower bounds."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from email.message import Message

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.checkup.installed import extra_of, hdf5, installed, is_older, parsed

LINES = (
    "torch>=2.10",
    "NumPy (>=1.26,<3)",
    'pyarrow>=18; extra == "parquet"',
    'pyarrow>=18; extra == "dev"',
    'ruff>=0.6; extra == "dev"',
    "timm[full]>=1.0.9; extra == 'timm'",
)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, to be filled by the test; the requirements are LINES and Python 3.11."""
    there: dict[str, str] = {}
    about = Message()
    about["Requires-Python"] = ">=3.11"

    def version(name: str, there: Mapping[str, str] = there) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: list(LINES))
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _name: about)
    monkeypatch.setattr(importlib.metadata, "version", version)
    return there


def test_requirements_are_read_from_the_metadata() -> None:
    assert [(each.name, each.least, each.extra) for each in parsed(LINES)] == [
        ("torch", "2.10", None),
        ("NumPy", "1.26", None),
        ("pyarrow", "18", "parquet"),
        ("timm", "1.0.9", "timm"),
    ]


def test_the_projects_own_requirements_are_all_read() -> None:
    lines = importlib.metadata.requires("featurecache-rebalance") or []
    needed = [line for line in lines if "extra ==" not in line]
    assert len([each for each in parsed(lines) if each.extra is None]) == len(needed) > 5


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_versions_are_ordered_by_their_numbers(one: list[int], two: list[int]) -> None:
    first, second = (".".join(map(str, parts)) for parts in (one, two))
    padded = [parts + [0] * (4 - len(parts)) for parts in (one, two)]
    assert is_older(first, second) == (padded[0] < padded[1])
    assert is_older(f"{first}+cpu", second) == is_older(first, second)


def test_two_digits_are_more_than_one_and_a_local_label_is_no_number() -> None:
    assert is_older("2.9.1", "2.10")
    assert not is_older("2.13.0+cu130", "2.13")


def test_every_package_gets_a_line(versions: dict[str, str]) -> None:
    versions |= {"torch": "2.9.0+cpu", "pyarrow": "17.0.0"}
    found = {each.name: each for each in installed()}
    assert found["python"].said == platform.python_version()
    assert (found["torch"].status, found["torch"].mend) == ("FAIL", "pip install --upgrade 'torch>=2.10'")
    assert "2.9.0+cpu; expected 2.10 or later" in found["torch"].said
    assert (found["NumPy"].status, found["NumPy"].mend) == ("FAIL", "pip install 'NumPy>=1.26'")
    assert (found["pyarrow"].status, found["pyarrow"].mend) == ("WARN", "pip install --upgrade 'pyarrow>=18'")
    assert found["timm"].status == "PASS"
    assert "pip install 'featurecache-rebalance[timm]'" in found["timm"].said


def test_a_python_that_is_too_old_fails(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.18")
    found = next(each for each in installed() if each.name == "python")
    assert (found.status, found.mend) == ("FAIL", "install Python 3.11")


def test_without_metadata_there_is_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert [each.status for each in installed()] == ["WARN"]
    assert extra_of("timm") == "pip install timm"


def test_an_old_hdf5_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hdf5().status == "PASS"
    monkeypatch.setattr(h5py.version, "hdf5_version", "1.14.6")
    found = hdf5()
    assert found.status == "WARN"
    assert "1.14.6" in found.said
