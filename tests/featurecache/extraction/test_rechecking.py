"""A model whose code was changed does not go on with a cache, though its weights are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from featurecache import FeatureCache, extract
from featurecache.extraction.rechecking import check_first_batch
from featurecache.shards.header import read_header


@pytest.fixture
def begun(pictures: Any, model: nn.Sequential, tmp_path: Path) -> Path:
    """An extraction of 9 rows that was stopped after 4."""
    with pytest.raises(KeyboardInterrupt):
        extract(model, {"train": pictures(9, breaks_at=5)}, tmp_path / "c", batch_size=2)
    return tmp_path / "c"


def test_changed_code_is_refused(begun: Path, pictures: Any, model: nn.Sequential, refused: Any, tree: Any) -> None:
    before = tree(begun)
    model[3] = nn.Tanh()  # in place of ReLU: the weights are the same
    with refused(str(begun), "first batch of train", "other features", "code"):
        extract(model, {"train": pictures(9)}, begun, batch_size=2)
    assert tree(begun) == before


def test_changed_images_of_the_first_batch_are_refused(
    begun: Path, pictures: Any, model: nn.Sequential, refused: Any
) -> None:
    other = pictures(9)
    other.inputs[1] += 1
    with refused(str(begun), "first batch of train", "images"):
        extract(model, {"train": other}, begun, batch_size=2)


def test_a_split_is_not_added_by_another_model(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any
) -> None:
    extract(model, {"train": pictures(9)}, tmp_path, batch_size=2)
    model[3] = nn.Tanh()
    with refused("first batch of train"):
        extract(model, {"train": pictures(9), "val": pictures(3)}, tmp_path, batch_size=2)


def test_the_same_features_pass_and_a_batch_of_another_size_says_nothing(begun: Path) -> None:
    extract_again = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    check_first_batch(begun, "train", extract_again, np.ones(3, bool))
    check_first_batch(begun, "nowhere", extract_again, np.ones(3, bool))
    with pytest.raises(ValueError, match="other features"):
        check_first_batch(begun, "train", np.full((2, 5), 100, np.float32), np.array([True, False]))


def test_rows_that_cannot_be_read_say_nothing(begun: Path) -> None:
    check_first_batch(begun, "train", np.full((2, 5), 100, np.float32), np.zeros(2, bool))


def test_a_damaged_first_batch_is_left_to_those_who_check_it(pictures: Any, model: nn.Sequential, begun: Path) -> None:
    part = begun / "train" / "00000.h5.part"
    part.write_bytes(part.read_bytes()[:100])
    extract(model, {"train": pictures(9)}, begun, batch_size=2)
    FeatureCache(begun, verify=True)


@pytest.mark.parametrize("finished", [False, True])
def test_damage_in_the_first_batch_is_not_taken_for_another_model(
    finished: bool, pictures: Any, model: nn.Sequential, begun: Path, tmp_path: Path, tree: Any
) -> None:
    extract(model, {"train": pictures(9)}, tmp_path / "whole", batch_size=2)
    if finished:
        extract(model, {"train": pictures(9)}, begun, batch_size=2)
    file = begun / "train" / ("00000.h5" if finished else "00000.h5.part")
    data = bytearray(file.read_bytes())
    start, length = read_header(file).span("features", 0)
    data[start : start + length] = np.full(length // 2, 1000, np.float16).tobytes()
    file.write_bytes(data)
    if finished:  # said by those who verify; a split is added all the same
        extract(model, {"train": pictures(9), "val": pictures(3)}, begun, batch_size=2)
        with pytest.raises(ValueError, match=r"features of rows 0\.\.1"):
            FeatureCache(begun, verify=True)
    else:  # computed again
        extract(model, {"train": pictures(9)}, begun, batch_size=2)
        assert tree(begun) == tree(tmp_path / "whole")
