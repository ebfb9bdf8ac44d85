"""One plan on the disk: who comes first writes it, who comes later takes it or is told the first difference."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from featurecache.plan import CachePlan, SplitPlan, read_plan
from featurecache.shards.lock import BeingWritten, Lock
from featurecache.storage import head_digest
from featurecache.writer import ShardWriter
from featurecache.writing.agreement import agree, check_agreed, check_free, check_split

HEAD = (torch.arange(8.0).reshape(2, 4).t(), torch.zeros(4))  # its weight is not contiguous
MADE_WITH = {"device": "cpu", "threads": 1, "seed": 0, "versions": {"torch": "2.10", "numpy": "2.4"}}
SPLIT = SplitPlan(3, 2, (0, 3), True, "ab", 1, MADE_WITH)
PLAN = CachePlan({"source": "extract", "head": head_digest(*HEAD), "logits": "float32"}, 4).with_split("train", SPLIT)
OTHER = replace(PLAN, specification={**PLAN.specification, "head": "y"})


def with_train(**entries: Any) -> CachePlan:
    """The plan with other entries in its split."""
    return PLAN.with_split("train", replace(SPLIT, **entries))


def made_with(**entries: Any) -> CachePlan:
    """The plan of the same split made in other surroundings."""
    return with_train(made_with={**MADE_WITH, **entries})


def write(cache: Path, sample: Any, plan: CachePlan = PLAN, blocks: int = 1) -> None:
    """Commit so many of the two blocks of the split; with two of them it is finished."""
    with ShardWriter(cache, plan, "train", 0, sample.columns) as writer:
        for block in range(blocks):
            writer.write(block, sample.block(block))
        if blocks == 2:
            writer.finish()


@pytest.fixture
def head() -> tuple[Tensor, Tensor]:
    """The classifier."""
    return HEAD


def test_the_first_writes_the_plan_and_the_head(head: tuple[Tensor, Tensor], tmp_path: Path, tree: Any) -> None:
    cache = tmp_path / "deep" / "c"
    assert agree(cache, PLAN, head) == PLAN
    assert sorted(tree(cache)) == ["cache.json", "head.safetensors"]
    assert read_plan(cache) == PLAN
    layer = torch.nn.Linear(2, 4)
    layer.load_state_dict(load_file(cache / "head.safetensors"))
    assert torch.equal(layer.weight, head[0])


def test_without_a_head_there_is_no_file(tmp_path: Path, tree: Any) -> None:
    agree(tmp_path, PLAN, None)
    assert sorted(tree(tmp_path)) == ["cache.json"]


def test_who_asks_for_the_same_changes_nothing(head: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    agree(tmp_path, PLAN, head)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert agree(tmp_path, PLAN, head) == PLAN
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_head_that_was_lost_is_written_again(head: tuple[Tensor, Tensor], tmp_path: Path, tree: Any) -> None:
    agree(tmp_path, PLAN, head)
    before = tree(tmp_path)
    (tmp_path / "head.safetensors").unlink()
    agree(tmp_path, PLAN, head)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("blocks", [1, 2])
def test_splits_are_added_to_what_is_there(blocks: int, sample: Any, tmp_path: Path) -> None:
    agree(tmp_path, PLAN, None)
    write(tmp_path, sample, blocks=blocks)
    val = CachePlan(PLAN.specification, 4).with_split("val", replace(SPLIT, seen=False))
    merged = agree(tmp_path, val, None)
    assert merged.splits == {"train": SPLIT, "val": replace(SPLIT, seen=False)}
    assert read_plan(tmp_path) == merged


def test_a_plan_without_a_row_is_replaced(head: tuple[Tensor, Tensor], sample: Any, tmp_path: Path, tree: Any) -> None:
    agree(tmp_path, PLAN, (head[0] + 1, head[1]))
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, PLAN, "train", 0, sample.columns):
        _ = 1 / 0
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "00000.h5.new").touch()  # of a process that was killed while it laid out its file
    assert agree(tmp_path, OTHER, head) == OTHER
    assert sorted(tree(tmp_path)) == ["cache.json", "head.safetensors"]
    assert torch.equal(load_file(tmp_path / "head.safetensors")["weight"], head[0])


@pytest.mark.parametrize("blocks", [1, 2])
def test_rows_of_another_making_are_refused(blocks: int, sample: Any, tmp_path: Path, refused: Any, tree: Any) -> None:
    agree(tmp_path, PLAN, None)
    write(tmp_path, sample, blocks=blocks)
    before = tree(tmp_path)
    with refused(str(tmp_path), "its head is d587bbef", "was y", "another folder"):
        agree(tmp_path, OTHER, None)
    with refused("class names"):
        agree(tmp_path, replace(PLAN, class_names=("a", "b", "c", "d")), None)
    assert tree(tmp_path) == before


def test_a_plan_whose_files_are_being_written_is_not_replaced(
    sample: Any, tmp_path: Path, refused: Any, tree: Any
) -> None:
    agree(tmp_path, PLAN, None)
    with ShardWriter(tmp_path, PLAN, "train", 0, sample.columns):  # and not a row is committed yet
        before = tree(tmp_path)
        with refused("its head is d587bbef"):
            agree(tmp_path, OTHER, None)
        with refused("--batch-size 2", "now 3"):
            agree(tmp_path, with_train(batch_size=3), None)
        assert agree(tmp_path, with_train(bounds=(0, 2, 3)), None) == PLAN
        assert tree(tmp_path) == before


@pytest.mark.parametrize("plan", [with_train(bounds=(0, 2, 3)), made_with(threads=8), made_with(threads=None)])
def test_bounds_and_threads_of_what_was_begun_are_taken_over(plan: CachePlan, sample: Any, tmp_path: Path) -> None:
    agree(tmp_path, PLAN, None)
    write(tmp_path, sample)
    assert agree(tmp_path, plan, None) == PLAN
    assert read_plan(tmp_path) == PLAN


def test_processes_with_other_threads_agree_before_any_of_them_writes(tmp_path: Path) -> None:
    assert agree(tmp_path, PLAN, None) == PLAN
    assert agree(tmp_path, made_with(threads=8), None) == PLAN


def test_another_number_of_processes_may_plan_anew_what_has_no_row(tmp_path: Path) -> None:
    agree(tmp_path, PLAN, None)
    plan = with_train(bounds=(0, 2, 3))
    assert agree(tmp_path, plan, None) == plan
    assert read_plan(tmp_path) == plan


DIFFERENT = {
    "batch size": (with_train(batch_size=3), ["--batch-size 2", "now 3"]),
    "device": (made_with(device="NVIDIA H200"), ["device cpu", "now NVIDIA H200"]),
    "seed": (made_with(seed=5), ["seed 0", "now 5"]),
    "a version": (made_with(versions={"torch": "2.11", "numpy": "2.4"}), ["torch 2.10", "now 2.11"]),
    "a package less": (made_with(versions={"torch": "2.10"}), ["numpy 2.4", "now absent"]),
    "a package more": (made_with(versions={**MADE_WITH["versions"], "timm": "1.0"}), ["timm absent", "now 1.0"]),
    "nothing known": (with_train(made_with=None), ["device cpu", "now None"]),
    "a long name": (made_with(device="x" * 5000), ["device cpu", "now xxx"]),
}


@pytest.mark.parametrize(("plan", "parts"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_a_split_was_begun_with_binds_until_it_is_finished(
    plan: CachePlan, parts: list[str], sample: Any, tmp_path: Path, refused: Any, tree: Any
) -> None:
    agree(tmp_path, PLAN, None)
    write(tmp_path, sample)
    before = tree(tmp_path)
    with refused(str(tmp_path), "'train'", *parts, "begin it again"):
        agree(tmp_path, plan, None)
    assert tree(tmp_path) == before
    write(tmp_path, sample, blocks=2)
    assert agree(tmp_path, plan, None) == PLAN


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(
    ("plan", "parts"),
    [
        (with_train(rows=4, bounds=(0, 4)), ["rows: 3, now 4"]),
        (with_train(views=3), ["views: 1, now 3"]),
        (with_train(data="cd"), ["data: ab, now cd"]),
        (with_train(data=None), ["data: ab, now None"]),
    ],
)
def test_other_data_are_refused_finished_or_not(
    plan: CachePlan, parts: list[str], blocks: int, sample: Any, tmp_path: Path, refused: Any
) -> None:
    agree(tmp_path, PLAN, None)
    write(tmp_path, sample, blocks=blocks)
    with refused("'train'", "other data", *parts, "another folder"):
        agree(tmp_path, plan, None)
    with refused("'train'", "other data", *parts):
        check_split(tmp_path, "train", SPLIT, plan.splits["train"])


def test_a_plan_that_was_replaced_meanwhile_is_noticed(tmp_path: Path, refused: Any) -> None:
    agree(tmp_path, PLAN, None)
    check_agreed(tmp_path, PLAN, "train")
    agree(tmp_path, PLAN.with_split("val", SPLIT), None)
    check_agreed(tmp_path, PLAN, "train")  # of that split alone
    for plan in (OTHER, with_train(batch_size=3)):
        with refused("'train'", "planned anew", "run the same extraction again"):
            check_agreed(tmp_path, plan, "train")
    agree(tmp_path, CachePlan(OTHER.specification, 4).with_split("val", SPLIT), None)
    with refused("'train'", "planned anew"):
        check_agreed(tmp_path, PLAN, "train")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the plan."""
    monkeypatch.setattr("featurecache.writing.agreement.PATIENCE", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_plan_that_another_process_keeps_is_not_touched(tmp_path: Path, refused: Any, tree: Any) -> None:
    lock = Lock(tmp_path / "cache.json")
    before = tree(tmp_path)
    with refused("cache.json", "being written", error=BeingWritten):
        agree(tmp_path, PLAN, None)
    assert tree(tmp_path) == before
    lock.release()
    agree(tmp_path, PLAN, None)


def test_many_at_once_agree_on_one_plan(head: tuple[Tensor, Tensor], tmp_path: Path, tree: Any) -> None:
    # Each opening of the lock has its own, so threads stand for processes here.
    found: list[CachePlan] = []

    def work(rank: int) -> None:
        found.append(agree(tmp_path, made_with(threads=rank + 1), head))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert [plan == found[0] for plan in found] == [True] * 8
    assert read_plan(tmp_path) == found[0]
    assert sorted(tree(tmp_path)) == ["cache.json", "head.safetensors"]


def test_a_file_that_another_process_writes_can_be_asked_for(sample: Any, tmp_path: Path, refused: Any) -> None:
    check_free(tmp_path, ["train"])  # there is nothing yet
    agree(tmp_path, PLAN, None)
    check_free(tmp_path, ["train", "val"])
    with ShardWriter(tmp_path, PLAN, "train", 0, sample.columns):
        with refused("00000.h5", "being written by", error=BeingWritten):
            check_free(tmp_path, ["train"])
        check_free(tmp_path, ["val"])
        check_free(tmp_path, ["train"], rank=1, world_size=2)  # not its file
    check_free(tmp_path, ["train"])


@pytest.mark.parametrize("operation", ["create", "write_at", "sync", "sync_folder", "rename"])
def test_a_full_disk_leaves_no_half_of_a_plan(
    operation: str, head: tuple[Tensor, Tensor], tmp_path: Path, failing: Any, tree: Any
) -> None:
    with failing(operation, at=0) as calls:
        agree(tmp_path / "whole", PLAN, head)
    wanted = tree(tmp_path / "whole")
    for at in range(1, calls[0] + 1):
        cache = tmp_path / str(at)
        with pytest.raises(OSError, match="No space left"), failing(operation, at):
            agree(cache, PLAN, head)
        assert {name: data for name, data in tree(cache).items() if data}.items() <= wanted.items()
        agree(cache, PLAN, head)
        assert tree(cache) == wanted


@pytest.mark.parametrize("damage", [Path.unlink, Path.touch, lambda file: file.write_bytes(b"x" * 100)])
def test_a_head_that_is_lost_or_damaged_is_written_again(
    damage: Any, head: tuple[Tensor, Tensor], tmp_path: Path, tree: Any
) -> None:
    agree(tmp_path, PLAN, head)
    before = tree(tmp_path)
    damage(tmp_path / "head.safetensors")
    agree(tmp_path, PLAN, head)
    assert tree(tmp_path) == before
