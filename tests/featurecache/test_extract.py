"""One pass over images gives what a manual forward gives, and leaves the model as it was."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from featurecache import FeatureCache, extract

WIDTH, K = 5, 3  # of the network
# Half a unit in the last place of half precision, relative, and of its smallest number.
HALF = {"rtol": 2.0**-11, "atol": 2.0**-25}


def plain(data: Any) -> TensorDataset:
    """The same pictures as a data set without names."""
    return TensorDataset(data.inputs, torch.tensor(data.labels))


def forward(model: nn.Sequential, inputs: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Features and logits, batch by batch."""
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        features = torch.cat([model[:-1](part) for part in inputs.split(batch)])
        return features, torch.cat([model[-1](part) for part in features.split(batch)])


def hooks_of(model: nn.Module) -> int:
    """Hooks that are registered anywhere in the model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("batch", [1, 4, 7, 100])
def test_features_and_logits_are_those_of_a_manual_forward(
    pictures: Any, dtype: str, batch: int, model: nn.Sequential, tmp_path: Path
) -> None:
    data = pictures(7)
    done = extract(model, {"train": data}, tmp_path, batch_size=batch, dtype=dtype)
    features, logits = forward(model, data.inputs, batch)
    split = FeatureCache(tmp_path)["train"]
    assert split.features.dtype == dtype
    assert split.logits.dtype == np.float32
    close = HALF if dtype == "float16" else {"rtol": 1e-6, "atol": 1e-7}  # a few float32 roundings
    np.testing.assert_allclose(split.features, features.numpy(), **close)
    np.testing.assert_allclose(split.logits, logits.numpy(), rtol=1e-6, atol=1e-6)
    assert (done.layer, done.written, done.kept) == ("5", {"train": 7}, [])
    assert done.seconds > 0


def test_the_head_gives_the_logits(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model, {"train": pictures(9)}, tmp_path, dtype="float32")
    cache = FeatureCache(tmp_path)
    weight, bias = cache.head
    assert torch.equal(weight, model[-1].weight)
    assert torch.equal(bias, model[-1].bias)
    again = torch.from_numpy(cache["train"].features) @ weight.T + bias
    np.testing.assert_allclose(again.numpy(), cache["train"].logits, rtol=1e-5, atol=1e-6)  # float32 sums of 5


def test_names_and_labels_come_from_the_data(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    data = pictures(7)
    data.labels[2] = -1
    extract(model, {"train": data, "val": pictures(3, seed=1)}, tmp_path)
    cache = FeatureCache(tmp_path)
    assert cache["train"].labels.tolist() == data.labels
    assert cache["train"].sample_id.tolist() == data.sample_ids
    assert cache["train"].index.tolist() == list(range(7))
    assert not cache["train"].status.any()
    assert [cache[split].seen for split in cache] == [True, False]


def test_class_names_come_from_the_data(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model, {"train": pictures(7)}, tmp_path)
    assert FeatureCache(tmp_path).class_names == ("cat", "dog", "wolf")


def test_class_names_may_be_given(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model, {"train": pictures(7)}, tmp_path, class_names=["a", "b", "é"])
    assert FeatureCache(tmp_path).class_names == ("a", "b", "é")


def test_a_data_set_without_names(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model, {"train": plain(pictures(7))}, tmp_path, batch_size=3)
    cache = FeatureCache(tmp_path)
    assert cache["train"].sample_id.tolist() == list("0123456")
    assert cache["train"].labels.tolist() == pictures(7).labels
    assert cache.class_names is None


def test_logits_may_be_left_out(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model, {"train": pictures(7)}, tmp_path, logits=False)
    assert not FeatureCache(tmp_path)["train"].stores_logits
    assert FeatureCache(tmp_path)["train"].features.shape == (7, WIDTH)


def test_what_it_was_made_of_is_recorded(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path, model_name="net", transform="none", seen=[])
    cache = FeatureCache(tmp_path)
    assert cache.plan.specification["model"] == "net"
    assert cache.plan.specification["transform"] == "none"
    assert cache.plan.specification["layer"] == "5"
    assert [cache[split].seen for split in cache] == [False, False]
    for split in cache.plan.splits.values():
        assert split.made_with is not None
        assert (split.made_with["device"], split.made_with["seed"]) == ("cpu", 0)
        assert split.made_with["versions"]["torch"]


def test_the_model_is_left_as_it_was(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    model.train()
    model[2].eval()  # a frozen batch normalisation
    before = copy.deepcopy(model.state_dict())
    extract(model, {"train": pictures(7)}, tmp_path)
    assert [module.training for module in model] == [True, True, False, True, True, True]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.device.type == "cpu" and value.requires_grad for value in model.parameters())
    assert hooks_of(model) == 0
    model(pictures(4).inputs).sum().backward()  # still trainable


def test_a_model_in_eval_mode_stays_in_it(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    extract(model.eval(), {"train": pictures(7)}, tmp_path)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("where", ["the data", "the values", "the progress"])
def test_an_error_leaves_the_model_and_torch_as_they_were(
    pictures: Any, where: str, model: nn.Sequential, tmp_path: Path
) -> None:
    data = pictures(9, breaks_at=7 if where == "the data" else None)
    if where == "the values":
        data.inputs[7] = torch.nan

    def progress(split: str, done: int, rows: int) -> None:
        if where == "the progress" and done > 4:
            raise KeyboardInterrupt

    model.train()
    try:
        with pytest.raises((KeyboardInterrupt, ValueError)) as caught:
            extract(model, {"train": data}, tmp_path, batch_size=2, progress=progress)
        # Whoever still holds the traceback (a notebook, a debugger) must be able to go on.
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        assert hooks_of(model) == 0
        assert all(module.training for module in model.modules())
        assert caught.value
    finally:
        del caught
        gc.collect()


def test_progress_does_not_run_in_inference_mode(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    modes: list[bool] = []
    extract(
        model,
        {"train": pictures(7)},
        tmp_path,
        batch_size=2,
        progress=lambda *_: modes.append(torch.is_inference_mode_enabled()),
    )
    assert modes == [False] * 4


def test_progress_grows_to_the_number_of_rows(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    splits = {"train": pictures(7), "val": pictures(3)}
    extract(model, splits, tmp_path, batch_size=2, progress=lambda *now: seen.append(now))
    assert seen == [*[("train", done, 7) for done in (2, 4, 6, 7)], ("val", 2, 3), ("val", 3, 3)]


@pytest.mark.usefixtures("small_shards")
def test_progress_over_several_shards_and_after_a_stop(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    seen: list[int] = []
    extract(model, {"train": pictures(7)}, tmp_path, batch_size=2, progress=lambda *now: seen.append(now[1]))
    assert seen == [2, 4, 6, 7]
    for shard in (1, 3):
        (tmp_path / "train" / f"0000{shard}.h5").unlink()
    seen.clear()
    done = extract(model, {"train": pictures(7)}, tmp_path, batch_size=2, progress=lambda *now: seen.append(now[1]))
    assert done.written == {"train": 3}
    assert sorted(set(seen)) == seen
    assert seen[-1] == 7


def test_two_extractions_give_equal_trees(pictures: Any, network: Any, tmp_path: Path, tree: Any) -> None:
    for folder in ("one", "another/one"):
        splits = {"train": pictures(7), "val": pictures(3)}
        extract(network(0), splits, tmp_path / folder, batch_size=3, model_name="net")
    assert tree(tmp_path / "one") == tree(tmp_path / "another/one")
    assert sorted(tree(tmp_path / "one")) == ["cache.json", "head.safetensors", "train/00000.h5", "val/00000.h5"]


@pytest.mark.usefixtures("small_shards")
def test_several_shards_hold_the_same_as_one(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    data = pictures(11)
    extract(model, {"train": data}, tmp_path, batch_size=3)
    split = FeatureCache(tmp_path)["train"]
    assert [path.name for path in sorted((tmp_path / "train").iterdir())] == [f"0000{i}.h5" for i in range(4)]
    features, logits = forward(model, data.inputs, 3)
    np.testing.assert_allclose(split.features, features.numpy(), **HALF)
    np.testing.assert_allclose(split.logits, logits.numpy(), rtol=1e-6, atol=1e-6)
    assert split.sample_id.tolist() == data.sample_ids
    assert split.index.tolist() == list(range(11))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # how torch starts its workers
def test_a_worker_makes_no_difference(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    splits = {"train": pictures(5), "val": pictures(3)}
    extract(model, splits, tmp_path / "0", batch_size=2)
    extract(model, splits, tmp_path / "1", batch_size=2, workers=1)
    assert tree(tmp_path / "1") == tree(tmp_path / "0")


def test_a_layer_may_be_named(pictures: Any, tmp_path: Path, refused: Any) -> None:
    torch.manual_seed(0)
    twice = nn.Sequential(nn.Flatten(), nn.Linear(12, K), nn.Linear(K, K))
    with torch.no_grad():
        twice[2].weight.copy_(torch.eye(K))
        twice[2].bias.zero_()
    assert extract(twice, {"train": pictures(7)}, tmp_path / "found").layer == "2"
    assert extract(twice, {"train": pictures(7)}, tmp_path / "named", layer="1").layer == "1"
    assert FeatureCache(tmp_path / "named")["train"].features.shape == (7, 12)
    with refused("'gone'"):
        extract(twice, {"train": pictures(7)}, tmp_path / "gone", layer="gone")
    with refused("layer"):
        extract(twice, {"train": pictures(7)}, tmp_path / "named", layer="2")


@pytest.mark.cuda
def test_on_a_gpu(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    data = pictures(7)
    extract(model, {"train": data}, tmp_path, batch_size=2, device="cuda")
    assert all(value.device.type == "cpu" for value in model.parameters())
    features, logits = forward(model, data.inputs, 2)
    split = FeatureCache(tmp_path)["train"]
    # TF32 keeps 10 bits of a factor.
    np.testing.assert_allclose(split.features, features.numpy(), rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(split.logits, logits.numpy(), rtol=5e-3, atol=5e-3)
