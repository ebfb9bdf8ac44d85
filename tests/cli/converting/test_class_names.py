"""Class names in text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from rebalance_cli.converting.class_names import read_names


@pytest.mark.parametrize("text", ["käfer\nfox\n", "käfer\r\nfox", "\ufeffkäfer\nfox\n"])
def test_a_name_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(text.encode())
    assert read_names(tmp_path / "names.txt") == ["käfer", "fox"]


@pytest.mark.parametrize(
    ("text", "part"), [(b"a\n\nb\n", "line 2 is empty"), (b"\xff", "UTF-8"), (b"", "line 1"), (b"a\n \n", "line 2")]
)
def test_what_is_no_list_of_names(text: bytes, part: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(text)
    with pytest.raises(ValueError, match=rf"names\.txt: .*{part}"):
        read_names(tmp_path / "names.txt")


def test_a_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=str(tmp_path.name)):
        read_names(tmp_path)
