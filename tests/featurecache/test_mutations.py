"""Mutated caches are refused in one line or read as they were: 3,000 here, 100,000 in benchmarks/mutations.py.

What mutates and judges is the benchmark's package `mutating`, loaded from its folder: tests and benchmarks import
nothing of each other by name, and two generators would drift apart. The benchmark reads in watched processes; here a
crash would end the test run, which nobody overlooks either.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from featurecache import FeatureCache, layout, write

CACHES, SEED = 3000, 1_000_000
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def package() -> Iterator[Callable[[str], Any]]:
    """Gives the modules of the benchmark's package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield lambda name: importlib.import_module(f"mutating.{name}")


@pytest.fixture(scope="module")
def caches(package: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The sound caches, one of every kind."""
    return package("caches").sound_caches(tmp_path_factory.mktemp("sound"))


def test_a_mutated_cache_is_refused_or_the_same(package: Callable[[str], Any], caches: Any, tmp_path: Path) -> None:
    judging, mutated = package("judging"), package("mutations").mutated
    bench, outcomes, bad = judging.Bench(tmp_path, caches), Counter[str](), []
    for number in range(CACHES):
        change = mutated(SEED, number, caches)
        outcome, words = bench.judge(change)
        outcomes[outcome] += 1
        if outcome not in judging.GOOD:
            bad.append(f"{number}: {change.family}: {change.what}: {outcome} {words}")
    assert bad == []
    assert outcomes[judging.REFUSED] > 0.8 * CACHES
    assert outcomes[judging.SAME] > 0.01 * CACHES
    assert outcomes[judging.PLAUSIBLE] > 0.01 * CACHES


def test_who_does_not_verify_is_found_out(
    package: Callable[[str], Any], caches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureCache, "verify", lambda self: None)
    judging, mutated = package("judging"), package("mutations").mutated
    bench = judging.Bench(tmp_path, caches)
    outcomes = Counter(bench.judge(mutated(SEED, number, caches))[0] for number in range(1000))
    assert outcomes[judging.DIFFERENT] > 10
    assert outcomes[judging.IMPLAUSIBLE] > 0
    assert outcomes[judging.FOREIGN] + outcomes[judging.UGLY] == 0


def test_a_number_stands_for_one_mutation(package: Callable[[str], Any], caches: Any) -> None:
    mutated = package("mutations").mutated
    assert [mutated(3, number, caches) for number in range(50)] == [mutated(3, number, caches) for number in range(50)]
    assert len({str(mutated(3, number, caches)) for number in range(50)}) == 50


# What the mutations have found: each was read as something else, or ended in another exception.


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two splits with a head."""
    head = torch.nn.Linear(4, 3)
    for split in ("train", "val"):
        write(tmp_path, split, torch.ones(6, 4), torch.arange(6) % 3, head=head, class_names=["a", "b", "c"])
    return tmp_path


def edit_json(cache: Path, change: Edit) -> None:
    """Change cache.json and make its hash right again."""
    document = json.loads((cache / "cache.json").read_text())
    change(document)
    document["hash"] = layout.specification_hash(document["specification"])
    (cache / "cache.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('"classes": 3', '"classes": 3, "classes": 3', "twice"),
        ('"seen": true', '"seen": true, "made_with": {"a": NaN}', "JSON"),
        ('"seen": true', '"seen": true, "more": 1e999', "JSON"),
        ('"seen": true', '"seen": true, "more": "\\ud800"', "JSON"),
        ('"seen": true', '"seen": true, "more": ' + "[" * 40 + "]" * 40, "nested"),
        ('"classes": 3', '"classes": "\\u001b[31m"', "classes"),
    ],
    ids=["a key twice", "NaN", "infinity", "lone surrogate", "nesting", "control characters"],
)
def test_a_document_that_readers_could_disagree_on(cache: Path, old: str, new: str, part: str, refused: Any) -> None:
    text = (cache / "cache.json").read_text()
    assert old in text
    (cache / "cache.json").write_text(text.replace(old, new, 1))
    with refused("cache.json", part):
        FeatureCache(cache)


def test_a_document_in_another_encoding(cache: Path, refused: Any) -> None:
    (cache / "cache.json").write_bytes((cache / "cache.json").read_text().encode("utf-16"))
    with refused("cache.json", "JSON"):
        FeatureCache(cache)


@pytest.mark.parametrize("number", [1.0, True])
def test_a_number_of_another_type(cache: Path, number: float, edit_header: Any, refused: Any) -> None:
    def say(value: float) -> Edit:
        return lambda document: document["splits"]["train"].update(made_with={"threads": value})

    edit_json(cache, say(number))
    edit_header(cache / "train" / "00000.h5", lambda header: say(1)(header["cache"]))
    with refused("another cache"):
        FeatureCache(cache)["train"]


def test_more_classes_than_any_file_knows_of(tmp_path: Path, refused: Any) -> None:
    for split, classes in (("train", 2), ("val", 4)):
        write(tmp_path, split, torch.ones(8, 4), torch.arange(8) % classes)
    FeatureCache(tmp_path, verify=True)
    edit_json(tmp_path, lambda document: document.update(classes=9))
    with refused("classes is 9", "know of 4"):
        FeatureCache(tmp_path, verify=True)


def test_a_head_of_another_width(cache: Path, edit_header: Any, refused: Any) -> None:
    def wider(document: dict[str, Any]) -> None:
        document["specification"]["features"]["width"] = 5

    edit_json(cache, wider)
    with refused("head.safetensors", "(3, 4)", "5"):
        _ = FeatureCache(cache).head


@pytest.mark.parametrize("odd", ["folder", "pipe", "loop"])
@pytest.mark.parametrize("file", ["cache.json", "head.safetensors", "train/00000.h5"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    cache: Path, file: str, odd: str, package: Callable[[str], Any], refused: Any
) -> None:
    (cache / file).unlink()
    package("judging").ODD[odd](cache / file)
    with refused(str(cache)):
        opened = FeatureCache(cache, verify=True)
        opened["train"]


def test_more_files_than_anybody_has(cache: Path, refused: Any) -> None:
    edit_json(cache, lambda document: document["splits"]["train"].update(rows=10**5 + 1, bounds=[*range(10**5 + 2)]))
    with refused("cache.json", "files"):
        FeatureCache(cache)
