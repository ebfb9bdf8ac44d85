"""The rows of a split where heads are computed: when they are copied there, and that copies change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, Split, write
from rebalance import METHODS, LinearHead, ranks
from rebalance_cli import feeding
from rebalance_cli.caches import cached_head
from rebalance_cli.choosing.chosen import Rule, chosen_head
from rebalance_cli.feeding import Feeding, copied, everywhere
from rebalance_cli.fit import fitted_head
from rebalance_cli.judging import judged
from rebalance_cli.judging.options import Judging
from rebalance_cli.options import Common

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
COUNTS = {"train": (20, 8, 5), "val": (5, 5, 5)}
JUDGING = Judging(None, None, "val", (5, 15), False, None, None, 20, False)
Make = Callable[..., FeatureCache]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a cache of three classes that overlap, of several files a split unless told otherwise."""

    def made(*, head: bool = True, dtype: str = "float16", files: bool = True, views: int = 1) -> FeatureCache:
        path = tmp_path / f"{head}-{dtype}-{files}-{views}.cache"
        joint = LinearHead(torch.eye(3, 5), torch.tensor([1.0, 0.0, -1.0])) if head else None
        with pytest.MonkeyPatch.context() as patch:
            if files:
                patch.setattr("featurecache.plan.SHARD_BYTES", 1)
                patch.setattr("featurecache.writing.table.BLOCK_ROWS", 6)
            for number, (split, counts) in enumerate(COUNTS.items()):
                random = np.random.default_rng(number)
                labels = np.tile(random.permutation(np.repeat(np.arange(3), counts)), views)
                rows = (2 * np.eye(3, 5)[labels] + random.normal(size=(len(labels), 5))).astype(np.float32)
                write(path, split, rows, labels, head=joint, dtype=dtype, seen=False, views=views)
        return FeatureCache(path)

    return made


class Copies(Feeding):
    """Copies every split, to the CPU."""

    def rows(self, split: Split) -> Any:
        if split not in self._rows:
            self._rows[split] = copied(split, CPU)
        return self._rows[split]


class TestCopied:
    """A split as tensors."""

    @pytest.mark.parametrize("files", [True, False])
    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    @pytest.mark.parametrize("size", [1, 30, 70, 10**6])
    def test_block_by_block_it_is_the_column(
        self, size: int, dtype: str, files: bool, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(feeding, "BLOCK_BYTES", size)
        split = make(dtype=dtype, files=files)["train"]
        assert (len(split.shards) > 1) is files
        features, labels = copied(split, CPU)
        assert (features.dtype, labels.dtype) == (getattr(torch, dtype), torch.int64)
        assert torch.equal(features, torch.from_numpy(split.read("features")))
        assert torch.equal(labels, torch.from_numpy(split.labels))

    def test_it_shares_no_memory_with_the_file(self, make: Make) -> None:
        split = make(files=False)["train"]
        features, labels = copied(split, CPU)
        assert not np.shares_memory(features.numpy(), split.features)
        assert not np.shares_memory(labels.numpy(), split.labels)


class TestFeeding:
    """What is copied, and what is left where it is."""

    @pytest.fixture
    def taken(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the splits that were copied to a GPU, which is the CPU here."""
        names: list[str] = []

        def to_it(split: Split, device: torch.device) -> Any:
            assert device == CUDA
            names.append(split.name)
            return copied(split, CPU)

        monkeypatch.setattr(feeding, "copied", to_it)
        return names

    def test_on_the_cpu_the_arrays_themselves(self, make: Make, taken: list[str]) -> None:
        def free(_device: torch.device) -> int:
            raise AssertionError("nobody asks what is free on a CPU")

        cache = make()
        fed = Feeding(CPU, free)
        for split in cache.values():
            features, labels = fed.rows(split)
            assert features is split.features
            assert labels is split.labels
        assert (taken, fed.notes) == ([], [])

    @pytest.mark.parametrize("short", [0, 1])
    def test_half_of_what_is_free_is_the_bound(self, short: int, make: Make, taken: list[str]) -> None:
        split = make()["train"]
        rows = len(split.labels)
        free = 2 * (rows * 5 * 2 + rows * 8) - short
        fed = Feeding(CUDA, lambda device: free if device == CUDA else 0)
        features, labels = fed.rows(split)
        assert taken == ([] if short else ["train"])
        assert (features is split.features) is (labels is split.labels) is bool(short)
        assert [note.split(":")[0] for note in fed.notes] == ["train stays in its files"] * short

    def test_once_a_split_and_each_by_what_is_free_then(self, make: Make, taken: list[str]) -> None:
        cache = make()
        left = iter([10**6, 10])
        fed = Feeding(CUDA, lambda _device: next(left))
        first = [fed.rows(cache[name]) for name in COUNTS]
        again = [fed.rows(cache[name]) for name in COUNTS]
        assert all(a is b for one, two in zip(first, again, strict=True) for a, b in zip(one, two, strict=True))
        assert taken == ["train"]
        assert first[1][0] is cache["val"].features

    def test_one_process_that_has_no_room_decides_for_all(
        self, make: Make, taken: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ranks, "size", lambda: 2)
        monkeypatch.setattr(ranks, "total", lambda count: None)  # the other says 0
        split = make()["train"]
        fed = Feeding(CUDA, lambda _device: 10**6)
        assert fed.rows(split)[0] is split.features
        assert (taken, len(fed.notes)) == ([], 1)
        assert not everywhere(True)
        monkeypatch.setattr(ranks, "total", lambda count: count.add_(1))
        assert everywhere(True)
        assert not everywhere(False)


def same(one: LinearHead, two: LinearHead) -> bool:
    mine, theirs = one.tensors(), two.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


class TestCopiesChangeNothing:
    """Tensors in the place of the arrays over several files: the same heads and figures to the last bit."""

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_of_every_method(self, dtype: str, make: Make) -> None:
        cache = make(dtype=dtype)
        copies, joint = Copies(CPU), cached_head(cache, CPU)
        before = [each.clone() for split in cache.values() for each in copies.rows(split)]
        for name, line in METHODS.items():
            on = line.on or "train"
            one, two = (fitted_head(name, cache, joint, on, {}, each) for each in (Feeding(CPU), copies))
            assert same(one, two), name
            assert one.record == two.record
        after = [each for split in cache.values() for each in copies.rows(split)]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "a method wrote into the features"

    @pytest.mark.parametrize("name", [name for name, line in METHODS.items() if not line.needs_head])
    def test_of_methods_without_a_head(self, name: str, make: Make) -> None:
        cache = make(head=False)
        assert same(*(fitted_head(name, cache, None, "train", {}, each) for each in (Feeding(CPU), Copies(CPU))))

    @pytest.mark.parametrize("views", [1, 2])
    @pytest.mark.parametrize("keys", [{"recipe": "reference"}, {"visits": 50}])
    def test_of_rows_that_are_drawn(self, keys: dict[str, Any], views: int, make: Make) -> None:
        cache = make(views=views)
        joint = cached_head(cache, CPU)
        assert same(*(fitted_head("crt", cache, joint, "train", keys, each) for each in (Feeding(CPU), Copies(CPU))))

    @pytest.mark.parametrize("folds", [None, 3])
    @pytest.mark.parametrize("name", ["ncm", "crt"])
    def test_of_a_choice(self, name: str, folds: int | None, make: Make) -> None:
        cache = make(head=False)
        rule = Rule(None, folds, "balanced", "1se", False)
        judging = cache["train" if folds else "val"]
        one, two = (
            chosen_head(name, cache, None, judging, rule, each, grid={}, seed=0) for each in (Feeding(CPU), Copies(CPU))
        )
        assert same(one.head, two.head)
        assert one.curve == two.curve

    def test_of_an_exact_search(self, make: Make) -> None:
        cache = make()
        rule, joint = Rule(None, None, "balanced", "1se-bootstrap", False), cached_head(cache, CPU)
        one, two = (
            chosen_head("tau_norm", cache, joint, cache["val"], rule, each, grid={}, seed=0)
            for each in (Feeding(CPU), Copies(CPU))
        )
        assert (one.value, one.parameters, one.interval) == (two.value, two.parameters, two.interval)

    def test_of_judging(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        cache = make()
        heads = {"one": LinearHead(torch.eye(3, 5)), "two": LinearHead(-torch.eye(3, 5))}
        common = Common(False, 0, "cpu")
        plain = judged.judge(cache, heads, JUDGING, common)
        monkeypatch.setattr(judged, "Feeding", Copies)
        again = judged.judge(cache, heads, JUDGING, common)
        assert {name: report.to_dict() for name, report in plain.items()} == {
            name: report.to_dict() for name, report in again.items()
        }


def test_a_split_that_several_heads_are_judged_on_is_fetched_once_and_of_one_head_not_at_all(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Asked(Feeding):
        def rows(self, split: Split) -> Any:
            asked.append(split.name)
            return super().rows(split)

    monkeypatch.setattr(judged, "Feeding", Asked)
    cache, head, common = make(), LinearHead(torch.eye(3, 5)), Common(False, 0, "cpu")
    for heads, fetched in (({}, []), ({"a": head}, []), ({"a": head, "b": head, "c": head}, ["val"])):
        judged.judge(cache, heads, JUDGING, common)
        assert asked == fetched


def test_what_is_fitted_on_nothing_fetches_nothing(make: Make) -> None:
    class Never(Feeding):
        def rows(self, split: Split) -> Any:
            raise AssertionError(f"{split.name} was fetched")

    cache = make()
    assert fitted_head("tau_norm", cache, cached_head(cache, CPU), "train", {}, Never(CPU)).num_classes == 3


@pytest.mark.parametrize("words", [("fit", "ncm"), ("tune", "ncm"), ("compare",)])
def test_commands_say_what_did_not_fit(
    words: tuple[str, ...], make: Make, tmp_path: Path, done: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(self: Feeding, split: Split) -> bool:
        self.notes.append(f"no room for {split.name}")
        return False

    monkeypatch.setattr(Feeding, "_fits", no)
    command, *method = words
    more = ("--out", tmp_path / "h.safetensors") if method else ("--methods", "ncm", "--split", "val")
    said = done(command, *method, make(head=False).path, *more).stderr.splitlines()
    assert said.count("rebalance: no room for train") == 1
    assert said.count("rebalance: no room for val") == (command != "fit")


@pytest.mark.cuda
class TestOnAGpu:
    """The same on a device."""

    @pytest.mark.parametrize("size", [70, 10**6])
    def test_the_rows_are_there(self, size: int, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feeding, "BLOCK_BYTES", size)
        split = make()["train"]
        features, labels = Feeding(CUDA).rows(split)
        assert isinstance(features, torch.Tensor)
        assert isinstance(labels, torch.Tensor)
        assert (features.device.type, labels.device.type, features.dtype) == ("cuda", "cuda", torch.float16)
        assert torch.equal(features.cpu(), torch.from_numpy(split.read("features")))
        assert torch.equal(labels.cpu(), torch.from_numpy(split.labels))

    @pytest.mark.parametrize("head", [True, False])
    def test_heads_are_made_there(self, head: bool, make: Make) -> None:
        cache = make(head=head)
        joint, here = cached_head(cache, CUDA), Feeding(CUDA)
        for name, line in METHODS.items():
            if head or not line.needs_head:
                made = fitted_head(name, cache, joint, line.on or "train", {}, here)
                assert made.weight.device.type == "cuda", name

    def test_the_commands(self, make: Make, tmp_path: Path, done: Callable[..., Result]) -> None:
        path = make(head=False).path
        gpu = ("--device", "cuda")
        done("fit", "ncm", path, "--out", tmp_path / "a.safetensors", *gpu)
        done("tune", "crt", path, "--out", tmp_path / "b.safetensors", *gpu)
        done("compare", path, "--methods", "ncm,crt,lda", "--split", "val", "--replicates", 5, *gpu)
        files = [tmp_path / f"{name}.safetensors" for name in "ab"]
        done("evaluate", path, *files, "--split", "val", "--replicates", 5, *gpu)
