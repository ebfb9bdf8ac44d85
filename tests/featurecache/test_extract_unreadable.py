"""Rows that cannot be read: they end the extraction, or keep their place without a label, and change no other row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from featurecache import FeatureCache, extract
from featurecache.unreadable import Unreadable


@pytest.fixture
def torn(pictures: Any) -> Any:
    """`torn(rows, bad)`: pictures of which some cannot be read."""

    class Torn(pictures):  # type: ignore[misc]
        def __init__(self, rows: int, bad: tuple[int, ...], **options: Any) -> None:
            super().__init__(rows, **options)
            self.bad = set(bad)

        def __getitem__(self, row: int) -> Any:
            if row in self.bad:
                raise Unreadable(f"image {self.sample_ids[row]} is torn")
            return super().__getitem__(row)

    return Torn


@pytest.mark.parametrize("bad", [(0,), (5,), (2, 3), (0, 1, 6), (4, 5, 6)], ids=str)
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_row_that_is_passed_over_keeps_its_place_and_no_other_row_changes(
    bad: tuple[int, ...], batch: int, torn: Any, pictures: Any, model: nn.Sequential, tmp_path: Path
) -> None:
    extract(model, {"train": pictures(7)}, tmp_path / "whole", batch_size=batch)
    done = extract(model, {"train": torn(7, bad)}, tmp_path / "c", batch_size=batch, unreadable="skip")
    assert done.unreadable == {"train": [f"image bild-ä-0/{row}.png is torn" for row in bad]}
    cache, whole = FeatureCache(tmp_path / "c", verify=True), FeatureCache(tmp_path / "whole")
    split, there = cache["train"], whole["train"]
    lost, kept = list(bad), [row for row in range(7) if row not in bad]
    assert split.status.tolist() == [int(row in bad) for row in range(7)]
    assert split.labels[lost].tolist() == [-1] * len(bad)
    assert not split.features[lost].any()
    assert not split.logits[lost].any()
    assert split.sample_id.tolist() == there.sample_id.tolist()
    for name in ("features", "logits", "labels"):
        np.testing.assert_array_equal(getattr(split, name)[kept], getattr(there, name)[kept])
    assert cache.counts.sum() == len(kept)


def test_it_ends_the_extraction_unless_it_is_to_be_passed_over(
    torn: Any, pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, refused: Any
) -> None:
    with refused("image bild-ä-0/5.png is torn", error=Unreadable):
        extract(model, {"train": torn(7, (5,))}, tmp_path / "c", batch_size=2)
    extract(model, {"train": torn(7, ())}, tmp_path / "c", batch_size=2)  # it was mended
    extract(model, {"train": pictures(7)}, tmp_path / "whole", batch_size=2)
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # how torch starts its workers
@pytest.mark.parametrize("unreadable", ["stop", "skip"])
def test_workers_tell_the_same(unreadable: Any, torn: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    for workers in (0, 2):
        data, cache = torn(7, (3, 5)), tmp_path / str(workers)
        if unreadable == "stop":
            with pytest.raises(Unreadable, match=r"^image bild-ä-0/3.png is torn$"):
                extract(model, {"train": data}, cache, batch_size=2, workers=workers)
        else:
            extract(model, {"train": data}, cache, batch_size=2, workers=workers, unreadable="skip")
    assert tree(tmp_path / "0") == tree(tmp_path / "2")


def test_no_readable_row_at_all_is_refused(torn: Any, model: nn.Sequential, tmp_path: Path, refused: Any) -> None:
    data = {"train": torn(3, (0, 1, 2)), "val": torn(2, (0, 1))}
    with refused("no row of train, val can be read", "5 were tried", "bild-ä-0/0.png is torn"):
        extract(model, data, tmp_path / "c", unreadable="skip")
    assert not (tmp_path / "c").exists()


def test_the_proof_is_made_on_the_first_rows_that_can_be_read(torn: Any, model: nn.Sequential, tmp_path: Path) -> None:
    data = {"train": torn(5, (0, 1, 2)), "val": torn(4, (0, 1, 2, 3))}
    done = extract(model, data, tmp_path / "c", batch_size=2, unreadable="skip")
    assert done.layer == "5"
    cache = FeatureCache(tmp_path / "c", verify=True)
    assert cache["train"].status.tolist() == [1, 1, 1, 0, 0]
    assert cache["val"].status.tolist() == [1, 1, 1, 1]


def test_another_word_is_refused(pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any) -> None:
    with refused("unreadable is 'ignore'", "'stop' or 'skip'"):
        extract(model, {"train": pictures(7)}, tmp_path / "c", unreadable="ignore")  # type: ignore[arg-type]
