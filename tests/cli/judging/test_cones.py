"""Three classes for a drawing of decision cones, by name or id."""

from __future__ import annotations

import pytest

from rebalance_cli.judging.cones import check_cones, read_cones

NAMES = ["cat", "dog", "3", "a, b", "fox", "fox"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cat,dog,fox", "several"),
        ("dog,cat,4", [1, 0, 4]),
        (" dog , 5 ,0", [1, 5, 0]),
        ('"a, b",cat,1', [3, 0, 1]),
        ("3,0,1", [2, 0, 1]),  # a name goes before an id
    ],
)
def test_names_and_ids(value: str, expected: list[int] | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match="2 classes are called fox; name one by its id, 4 say"):
            read_cones(value, 6, NAMES)
    else:
        assert read_cones(value, 6, NAMES) == expected


def test_without_names() -> None:
    assert read_cones("2,0,1", 3, None) == [2, 0, 1]
    with pytest.raises(ValueError, match=r"--cones: no class cat; expected an id, 0\.\.2$"):
        read_cones("cat,0,1", 3, None)


@pytest.mark.parametrize("value", ["", "1,2", "1,2,3,4", "1,1,2", "1,,2", "1, 1 ,2", "\n"])
def test_not_three(value: str) -> None:
    with pytest.raises(ValueError, match=r"^--cones .*expected three different classes"):
        check_cones(value)


@pytest.mark.parametrize("value", ["0,1,9", "0,1,-1", "0,1,horse", "0,1,²", "0,1," + "9" * 5000, "0,1,\x1b[31m"])
def test_no_such_class(value: str) -> None:
    with pytest.raises(ValueError, match=r"--cones: no class .*expected a class name or an id, 0\.\.5") as refusal:
        read_cones(value, 6, NAMES)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 800


def test_the_same_class_by_name_and_by_id() -> None:
    with pytest.raises(ValueError, match="these are classes 0, 0, 1; expected three different classes"):
        read_cones("cat,0,dog", 6, NAMES)
