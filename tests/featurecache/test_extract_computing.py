"""How it is computed: in half precision, another memory order, compiled, in other batches, with anything for input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache import FeatureCache, extract
from featurecache.extraction.forward import OutOfMemory


class Convolutions(nn.Module):
    """A small network of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 16, 2), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))
        return out


@pytest.fixture
def plain(pictures: Any, tmp_path: Path) -> FeatureCache:
    """What float32 gives in batches of 4."""
    extract(Convolutions(), {"train": pictures(11)}, tmp_path / "plain", batch_size=4, dtype="float32")
    return FeatureCache(tmp_path / "plain")


def other(pictures: Any, tmp_path: Path, **options: Any) -> FeatureCache:
    """The same, made in another way."""
    options = {"batch_size": 4, "dtype": "float32", **options}
    extract(Convolutions(), {"train": pictures(11)}, tmp_path / "other", **options)
    return FeatureCache(tmp_path / "other", verify=True)


def close(one: FeatureCache, two: FeatureCache, tolerance: float) -> None:
    """Features and logits differ by at most this share of the largest."""
    for name in ("features", "logits"):
        a, b = (np.asarray(getattr(cache["train"], name)) for cache in (one, two))
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max()


@pytest.mark.parametrize(
    "options", [{"batch_size": 1}, {"batch_size": 7}, {"channels_last": True}, {"compile": True}], ids=str
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the compiler's own
def test_only_the_last_bits_differ(options: dict[str, Any], plain: FeatureCache, pictures: Any, tmp_path: Path) -> None:
    # A float32 sum of 12 products in another order: some units in the last place, 6e-8 each.
    made = other(pictures, tmp_path, **options)
    close(plain, made, 2e-6)
    assert made.hash == plain.hash


def test_half_precision_is_another_cache(plain: FeatureCache, pictures: Any, tmp_path: Path, refused: Any) -> None:
    made = other(pictures, tmp_path, amp="bf16")
    close(plain, made, 4 * 2.0**-8)  # 8 bits a number, through three layers
    assert made.plan.specification["precision"] == "bf16"
    assert made.hash != plain.hash
    assert not np.array_equal(made["train"].logits, plain["train"].logits)
    with refused("another extraction", "precision"):
        extract(Convolutions(), {"val": pictures(3)}, tmp_path / "other", dtype="float32")


def test_how_the_last_bits_came_about_is_recorded_and_binds_until_it_is_finished(
    pictures: Any, tmp_path: Path, refused: Any, commit_each: None
) -> None:
    options: dict[str, Any] = {"batch_size": 2, "channels_last": True}
    with pytest.raises(KeyboardInterrupt):
        extract(Convolutions(), {"train": pictures(9, breaks_at=6)}, tmp_path, **options)
    with refused("train", "channels_last", "go on with what it was begun with"):
        extract(Convolutions(), {"train": pictures(9)}, tmp_path, batch_size=2)
    extract(Convolutions(), {"train": pictures(9)}, tmp_path, **options)
    made_with = FeatureCache(tmp_path).plan.splits["train"].made_with
    assert made_with is not None
    assert made_with["channels_last"] is True
    assert "compile" not in made_with
    assert extract(Convolutions(), {"train": pictures(9)}, tmp_path, batch_size=2).kept == ["train"]


class Full(Convolutions):
    """A model on a device that has room for a few rows."""

    def __init__(self, room: int, after: int) -> None:
        super().__init__()
        self.room, self.after, self.calls = room, after, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.after and len(x) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_a_full_device_loses_nothing_and_a_smaller_batch_goes_on(
    plain: FeatureCache, pictures: Any, tmp_path: Path, refused: Any, commit_each: None
) -> None:
    # The proof takes four forwards; then there is room for one batch.
    data, path = {"train": pictures(11)}, tmp_path / "c"
    with refused("out of memory at 4 rows", "--batch-size 2", error=OutOfMemory):
        extract(Full(3, 5), data, path, batch_size=4, dtype="float32")
    assert FeatureCache(path).describe()["splits"]["train"]["rows_done"] == 4
    done = extract(Full(3, 0), data, path, batch_size=2, dtype="float32")
    assert done.written == {"train": 7}
    close(plain, FeatureCache(path, verify=True), 2e-6)
    assert FeatureCache(path).plan.splits["train"].batch_size == 4


def test_a_larger_batch_does_not_go_on(pictures: Any, tmp_path: Path, refused: Any, commit_each: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(Convolutions(), {"train": pictures(9, breaks_at=6)}, tmp_path, batch_size=2)
    with refused("begun with --batch-size 2, now 3"):
        extract(Convolutions(), {"train": pictures(9)}, tmp_path, batch_size=3)


def test_the_size_of_batches_is_found_recorded_and_used_again(
    plain: FeatureCache, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit_each: None
) -> None:
    monkeypatch.setattr("featurecache.extraction.batch_size.fastest", lambda forward, inputs, rows: 3)
    path = tmp_path / "c"
    # The rows of the trial are read from the first split: it is the second that is stopped.
    splits = {"val": pictures(3), "train": pictures(11, breaks_at=8)}
    with pytest.raises(KeyboardInterrupt):
        extract(Convolutions(), splits, path, batch_size="auto", dtype="float32")
    assert FeatureCache(path).plan.splits["train"].batch_size == 3
    monkeypatch.setattr("featurecache.extraction.batch_size.fastest", lambda forward, inputs, rows: 5)
    done = extract(Convolutions(), {"train": pictures(11)}, path, batch_size="auto", dtype="float32")
    assert done.batch_size == 3
    assert 0 < done.written["train"] < 11
    close(plain, FeatureCache(path, verify=True), 2e-6)


def test_processes_that_find_other_sizes_take_that_of_the_first(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank, size in enumerate((3, 4)):
        monkeypatch.setattr("featurecache.extraction.batch_size.fastest", lambda forward, inputs, rows, size=size: size)
        extract(Convolutions(), {"train": pictures(11)}, tmp_path, batch_size="auto", rank=rank, world_size=2)
    assert FeatureCache(tmp_path, verify=True).plan.splits["train"].batch_size == 3


def test_a_size_that_is_found_by_trial_serves(plain: FeatureCache, pictures: Any, tmp_path: Path) -> None:
    made = other(pictures, tmp_path, batch_size="auto")
    size = made.plan.splits["train"].batch_size
    assert 1 <= size <= 128
    assert size & (size - 1) == 0
    close(plain, made, 2e-6)


@pytest.mark.parametrize(("size", "parts"), [("many", ["'many'", "'auto'"]), (0, ["batch_size is 0"])])
def test_other_sizes_are_refused(size: Any, parts: list[str], pictures: Any, tmp_path: Path, refused: Any) -> None:
    with refused(*parts):
        extract(Convolutions(), {"train": pictures(3)}, tmp_path, batch_size=size)


class Sentences(Dataset[Any]):
    """Something that is not an image: sequences of any length, put together by the data set's own collate."""

    labels = (0, 1, 2, 1, 0)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.arange(row + 1), self.labels[row]

    def collate(self, items: list[tuple[Tensor, int]]) -> tuple[dict[str, Tensor], Tensor]:
        tokens = nn.utils.rnn.pad_sequence([tokens for tokens, _ in items], batch_first=True, padding_value=9)
        return {"tokens": tokens, "mask": tokens != 9}, torch.tensor([label for _, label in items])


class Reader(nn.Module):
    """A mean of embeddings and a classifier, called with keywords."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.fc = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, *, tokens: Tensor, mask: Tensor) -> Tensor:
        weights = mask.float() / mask.sum(1, keepdim=True)
        out: Tensor = self.fc((self.embedding(tokens) * weights[..., None]).sum(1))
        return out


def test_what_is_not_an_image_goes_the_same_way(tmp_path: Path) -> None:
    model = Reader()
    extract(model, {"train": Sentences()}, tmp_path, batch_size=2, dtype="float32")
    split = FeatureCache(tmp_path, verify=True)["train"]
    with torch.no_grad():
        means = torch.stack([model.embedding(torch.arange(row + 1)).mean(0) for row in range(5)])
    np.testing.assert_allclose(split.features, means, rtol=1e-6, atol=1e-7)
    assert split.labels.tolist() == list(Sentences.labels)


def test_where_the_time_went_is_told(pictures: Any, tmp_path: Path) -> None:
    done = extract(Convolutions(), {"train": pictures(11)}, tmp_path, batch_size=2)
    assert set(done.stages) == {"decode", "forward", "write"}
    assert all(0 < seconds < done.seconds for seconds in done.stages.values())
