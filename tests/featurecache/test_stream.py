"""A model's features and logits as they come: those of a manual forward, and of what an extraction stores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featurecache import FeatureCache, extract
from featurecache.stream import LogitsOf, streaming
from featurecache.unreadable import Unreadable

Refused = Callable[..., Any]
CLOSE = {"rtol": 1e-6, "atol": 1e-6}  # float32 sums over another number of rows


class Torn:
    """The pictures of another data set, of which some cannot be read."""

    def __init__(self, data: Any, bad: set[int]) -> None:
        self.data, self.bad, self.sample_ids = data, bad, data.sample_ids

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        if row in self.bad:
            raise Unreadable(f"picture {row} is torn")
        return self.data[row]  # type: ignore[no-any-return]


def gathered(model: nn.Module, data: Any, **options: Any) -> tuple[list[str], Any, Any, Tensor]:
    """Ids, labels, which are readable, and values of all rows."""
    with streaming(model, data, **options) as stream:
        parts = list(stream)
    assert sum(len(part.ids) for part in parts) == stream.rows
    return (
        [name for part in parts for name in part.ids],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.readable for part in parts]),
        torch.cat([part.values for part in parts]),
    )


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100, "auto"])
def test_features_and_logits(batch_size: Any, pictures: Any, model: nn.Sequential) -> None:
    data = pictures(7)
    data.labels[2] = -1
    manual = copy.deepcopy(model).eval()
    with torch.no_grad():
        features = manual[:-1](data.inputs)
        logits = manual(data.inputs)
    for want, expected in (("features", features), ("logits", logits), ("output", logits)):
        ids, labels, readable, values = gathered(model, data, want=want, batch_size=batch_size)
        assert (ids, labels.tolist(), readable.all()) == (data.sample_ids, data.labels, True)
        torch.testing.assert_close(values, expected, **CLOSE)
    _, _, _, values = gathered(model, data, want="output", layer="4")
    torch.testing.assert_close(values, features, **CLOSE)


def test_it_is_what_an_extraction_stores(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    data = pictures(9)
    extract(model, {"train": data}, tmp_path, batch_size=4, dtype="float32")
    split = FeatureCache(tmp_path)["train"]
    for want, stored in (("features", split.features), ("logits", split.logits)):
        _, _, _, values = gathered(model, data, want=want, batch_size=4)
        assert torch.equal(values, torch.from_numpy(np.array(stored)))


def test_the_classifier_comes_with_its_features(pictures: Any, model: nn.Sequential) -> None:
    with streaming(model, pictures(5), want="features", batch_size=2) as stream:
        weight, bias = stream.found.head
        assert torch.equal(weight, model[-1].weight)
        assert torch.equal(bias, model[-1].bias)
        assert (stream.rows, stream.batch_size, stream.found.width) == (5, 2, weight.shape[1])
        assert not model.training
    with streaming(model, pictures(5), want="logits") as stream:
        assert (stream.found.head, stream.found.width) == (None, len(weight))


def test_the_model_is_left_as_it_was(pictures: Any, model: nn.Sequential) -> None:
    model.train()
    model[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    with streaming(model, pictures(5), want="features", batch_size=2) as stream:
        next(iter(stream))  # and no further
    assert {name: module.training for name, module in model.named_modules()} == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_workers_load_the_same(pictures: Any, model: nn.Sequential) -> None:
    alone, helped = (gathered(model, pictures(6), want="logits", batch_size=2, workers=n) for n in (0, 1))
    assert alone[0] == helped[0]
    assert torch.equal(alone[3], helped[3])


def test_rows_that_cannot_be_read(pictures: Any, model: nn.Sequential, refused: Refused) -> None:
    data = Torn(pictures(7), {0, 1, 5})
    # Batches of 2: the first has no row that can be read.
    _, labels, readable, values = gathered(model, data, want="logits", batch_size=2, unreadable="skip")
    assert np.flatnonzero(~readable).tolist() == [0, 1, 5]
    assert (labels[~readable] == -1).all()
    assert not values[~torch.from_numpy(readable)].any()
    _, _, _, every = gathered(model, data.data, want="logits", batch_size=2)
    torch.testing.assert_close(values[readable], every[readable], **CLOSE)
    with streaming(model, data, want="logits", batch_size=2, unreadable="skip") as stream:
        assert [part.reasons for part in stream] == [
            ("picture 0 is torn", "picture 1 is torn"), (), ("picture 5 is torn",), ()
        ]  # fmt: skip
    late = Torn(data.data, {5})
    with refused("picture 5 is torn"), streaming(model, late, want="logits", batch_size=2) as stream:
        list(stream)


def test_numbers_that_are_not_finite(pictures: Any, model: nn.Sequential, refused: Refused) -> None:
    data = pictures(7)
    data.inputs[6] = torch.nan
    with refused(repr(data.sample_ids[6]), "NaN or infinity"):
        gathered(model, data, want="features", batch_size=2)


def test_logits_are_found_in_whatever_holds_them(model: nn.Sequential) -> None:
    class Wrapped(nn.Module):
        """The logits with something else before them."""

        def forward(self, rows: Tensor) -> Any:
            return SimpleNamespace(states=rows + 1, logits=rows)

    rows = torch.randn(2, 3)
    assert torch.equal(LogitsOf(Wrapped())(rows), rows)
