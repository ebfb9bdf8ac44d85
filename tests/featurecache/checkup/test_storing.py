"""The tiny cache and the tiny images, on a disk and with a Pillow that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from featurecache import disk
from featurecache.checkup import storing


def test_a_sound_machine_passes(tmp_path: Path, handles: None) -> None:
    assert [storing.cache(tmp_path).status, storing.images(tmp_path).status] == ["PASS", "PASS"]


def test_rows_that_come_back_otherwise_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = storing.write

    def other(path: Any, split: str, rows: Any, *given: Any, **named: Any) -> None:
        real(path, split, rows + np.float32(1), *given, **named)

    monkeypatch.setattr(storing, "write", other)
    assert storing.cache(tmp_path).status == "FAIL"


def test_a_damaged_row_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = storing.write

    def damaged(path: Path, split: str, *given: Any, **named: Any) -> None:
        real(path, split, *given, **named)
        file = path / split / "00000.h5"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        handle = disk.create(file)
        disk.write_at(handle, bytes(content), 0)

    monkeypatch.setattr(storing, "write", damaged)
    found = storing.cache(tmp_path)
    assert found.status == "FAIL"
    assert "00000.h5" in found.said


def test_a_pillow_that_swaps_colours_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Image.Image.save

    def blue(picture: Image.Image, path: Path, **named: Any) -> None:
        real(Image.merge("RGB", picture.split()[::-1]) if path.suffix == ".gif" else picture, path, **named)

    monkeypatch.setattr(Image.Image, "save", blue)
    assert storing.images(tmp_path).status == "FAIL"


def test_a_pillow_without_webp_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _name: False)
    assert storing.images(tmp_path).status == "WARN"
