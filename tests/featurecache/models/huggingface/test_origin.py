"""Folders, names, and everything that is neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featurecache.models.huggingface.origin import Origin, origin_of


def test_a_folder_is_never_asked_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert origin_of(str(tmp_path)).options() == {"local_files_only": True, "trust_remote_code": False}
    assert not origin_of("owner/name").local
    monkeypatch.chdir(tmp_path)
    assert origin_of("owner/name").local


@pytest.mark.parametrize("name", ["./none", "../none", "/none", "a/b/c", "a b", "a\nb", "https://x.y/z", "a/"])
def test_what_is_neither_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("is no folder and no name of a model; expected hf:FOLDER or hf:OWNER/NAME"):
        origin_of(name)


@pytest.mark.parametrize(
    ("local", "said", "part"),
    [
        (True, "no\nfile", "is no model folder of transformers that can be read: OSError: no file"),
        (False, "x" * 999, "could not be fetched; download its files and pass hf:FOLDER (OSError: xxx"),
        (True, "set trust_remote_code=True", "brings Python code of its own, which is never run here"),
    ],
)
def test_refusals_tell_the_way_out(local: bool, said: str, part: str, refused: Any) -> None:
    with refused(f"hf:{'n' * 20}", part):
        raise Origin("n" * 500, local).refusal(OSError(said))
