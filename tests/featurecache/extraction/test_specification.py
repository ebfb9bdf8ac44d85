"""What was asked for, as a plan: every option that decides what the features are is in it, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from featurecache.classifier import Classifier, Term
from featurecache.extraction.finding import Found
from featurecache.extraction.rows import Batch, Rows
from featurecache.extraction.specification import Specification
from featurecache.storage import data_digest, encode_ids, head_digest

ASKED = Specification(
    layer=None,
    head=True,
    model_name="net",
    transform="crop",
    dtype="float16",
    logits=True,
    class_names=("a", "b", "é"),
    precision=None,
    batch_size=2,
    world_size=1,
    seen=("train",),
    made_with={"device": "cpu"},
)


def found(classifier: Classifier | None, layer: str | None = "fc") -> Found:
    """What is found in a model with this classifier."""
    batch = Batch(torch.zeros(1, 1), torch.zeros(1), np.zeros(1, bool))
    return Found(classifier, layer, 5, batch, "train", 0)


CLASSIFIER = Classifier("fc", torch.arange(15.0).reshape(3, 5), torch.zeros(3))
FOUND = found(CLASSIFIER)
BACKBONE = found(None, None)


def rows(**splits: Any) -> dict[str, Rows]:
    """Splits as the extraction reads them."""
    return {name: Rows(name, data, 0) for name, data in splits.items()}


def test_the_plan_says_what_the_features_are() -> None:
    plan = ASKED.plan(FOUND, "digest", {})
    assert plan.specification == {
        "source": "extract",
        "model": "net",
        "weights": "digest",
        "layer": "fc",
        "transform": "crop",
        "features": {"dtype": "float16", "width": 5},
        "logits": "float32",
        "head": head_digest(CLASSIFIER.weight, CLASSIFIER.bias),
    }
    assert (plan.classes, plan.class_names, plan.splits) == (3, ("a", "b", "é"), {})
    assert replace(ASKED, logits=False).plan(FOUND, "digest", {}).specification["logits"] == "none"


def test_other_class_names_than_outputs_are_refused(refused: Any) -> None:
    with refused("3 outputs", "2 classes", "one output a class"):
        replace(ASKED, class_names=("a", "b")).plan(FOUND, "digest", {})
    assert replace(ASKED, class_names=None).plan(FOUND, "digest", {}).class_names is None


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"model_name": "a\udcff"}, ["model name 'a\\udcff'"]),
        ({"transform": "\ud800" * 999}, ["transform"]),
        ({"class_names": ("a", "b", "\udfff")}, ["class name"]),
    ],
)
def test_text_that_no_file_could_hold_is_refused(change: dict[str, Any], parts: list[str], refused: Any) -> None:
    with refused(*parts, "UTF-8"):
        replace(ASKED, **change).plan(FOUND, "digest", {})


CHANGES: dict[str, dict[str, Any]] = {
    "model_name": {"model_name": "other"},
    "transform": {"transform": None},
    "dtype": {"dtype": "float32"},
    "logits": {"logits": False},
    "class_names": {"class_names": ("x", "y", "z")},
    "no class_names": {"class_names": None},
    "layer": {"layer": "other"},
    "head": {"head": False},
    "precision": {"precision": "bf16"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_option_of_the_features_tells_caches_apart(change: dict[str, Any]) -> None:
    assert not replace(ASKED, **change).says(ASKED.plan(FOUND, "digest", {}), "digest")


def test_the_same_options_say_the_same() -> None:
    plan = ASKED.plan(FOUND, "digest", {})
    assert ASKED.says(plan, "digest")
    assert replace(ASKED, layer="fc").says(plan, "digest")
    assert not ASKED.says(plan, "of other weights")
    # What a split is made with, and by how many, is no matter of the features.
    others = replace(ASKED, batch_size=9, world_size=4, seen=(), made_with={"device": "cuda"})
    assert others.says(plan, "digest")
    assert others.plan(FOUND, "digest", {}) == plan


def test_a_cache_of_arrays_is_another(sample: Any) -> None:
    assert not ASKED.says(sample.plan, "digest")


def test_a_split_is_planned_from_its_data(pictures: Any) -> None:
    plan = ASKED.with_splits(ASKED.plan(FOUND, "digest", {}), rows(train=pictures(7), val=pictures(3)))
    train, val = plan.splits["train"], plan.splits["val"]
    assert (train.rows, train.batch_size, train.bounds, train.views) == (7, 2, (0, 7), 1)
    assert (train.seen, val.seen) == (True, False)
    assert train.made_with == {"device": "cpu"}
    digest = data_digest([encode_ids(pictures(7).sample_ids)], torch.tensor(pictures(7).labels).numpy())
    assert train.data == digest
    assert val.data != digest


def test_data_that_do_not_say_their_labels_are_known_by_some_of_their_rows(pictures: Any) -> None:
    def digest(inputs: torch.Tensor, labels: torch.Tensor) -> str | None:
        plain = TensorDataset(inputs, labels)
        return ASKED.with_splits(ASKED.plan(FOUND, "digest", {}), rows(train=plain)).splits["train"].data

    one, labels = pictures(7).inputs, torch.arange(7) % 3
    assert digest(one, labels) == digest(one.clone(), labels.clone())
    assert (
        len({digest(one, labels), digest(one + 1, labels), digest(one, labels + 1), digest(one[:6], labels[:6])}) == 4
    )


def test_shards_are_bounded_in_bytes_and_shared_among_the_processes(
    pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bounds(limit: int, **options: Any) -> tuple[int, ...]:
        monkeypatch.setattr("featurecache.plan.SHARD_BYTES", limit)
        asked = replace(ASKED, **options)
        return asked.with_splits(asked.plan(FOUND, "digest", {}), rows(train=pictures(8))).splits["train"].bounds

    row = 2 * 5 + 4 * 3  # bytes, in half precision
    assert bounds(8 * row) == (0, 8)
    assert bounds(4 * row) == (0, 4, 8)
    assert bounds(8 * row - 12, logits=False) == (0, 8)
    assert bounds(8 * row, world_size=2) == (0, 4, 8)
    assert bounds(8 * row, world_size=9) == (0, 2, 4, 6, 8)
    assert bounds(1) == (0, 2, 4, 6, 8)


def labelled(pictures: Any, *labels: int) -> Any:
    """Pictures with these labels."""
    data = pictures(len(labels))
    data.labels = list(labels)
    return data


@pytest.mark.parametrize(
    ("train", "val", "parts"),
    [
        ((0, 1, 3), (0,), ["train", "label 3", "3 outputs", "0..2"]),
        ((0, 1, 2), (7,), ["val", "label 7"]),
        ((0, 1, -1), (2, 2), ["class 2", "'é'", "val", "none in train", "1 such"]),
        ((0, -1, -1), (1, 2), ["class 1", "'b'", "2 such"]),
        ((-2, 0, 0), (0,), ["label -2"]),
    ],
)
def test_labels_that_no_head_could_be_fitted_to_are_refused(
    train: tuple[int, ...], val: tuple[int, ...], parts: list[str], pictures: Any, refused: Any
) -> None:
    with refused(*parts):
        splits = rows(train=labelled(pictures, *train), val=labelled(pictures, *val))
        ASKED.with_splits(ASKED.plan(FOUND, "digest", {}), splits)


def test_labels_without_a_train_split_are_not_compared_with_it(pictures: Any) -> None:
    plan = ASKED.plan(FOUND, "digest", {})
    assert list(ASKED.with_splits(plan, rows(val=labelled(pictures, 2, -1))).splits) == ["val"]
    empty = labelled(pictures, -1, -1)
    assert ASKED.with_splits(plan, rows(train=labelled(pictures, 0, 1), val=empty)).splits["val"].rows == 2


def test_other_labels_than_rows_are_refused(pictures: Any, refused: Any) -> None:
    data = pictures(3)
    data.labels = [0, 1]
    with refused("val", "3 rows and 2 labels"):
        ASKED.with_splits(ASKED.plan(FOUND, "digest", {}), rows(val=data))


def test_a_real_layer_is_described_by_its_weights() -> None:
    layer = nn.Linear(5, 3)
    real = found(Classifier("", layer.weight.detach(), layer.bias.detach()))
    assert ASKED.plan(real, "d", {}).specification["head"] == head_digest(layer.weight, layer.bias)
    assert ASKED.plan(real, "d", {}).hash != ASKED.plan(FOUND, "d", {}).hash


def test_a_backbone_has_no_head_and_its_classes_are_those_of_the_data(pictures: Any) -> None:
    asked = replace(ASKED, head=False)
    plan = asked.plan(BACKBONE, "digest", {})
    there = plan.specification
    assert (there["head"], there["logits"], there["layer"]) == (None, "none", None)
    assert plan.classes == 3  # names
    unnamed = replace(asked, class_names=None)
    assert (
        unnamed.plan(BACKBONE, "digest", rows(train=labelled(pictures, 0, 4), val=labelled(pictures, 5, 1))).classes
        == 6
    )
    assert asked.says(plan, "digest")
    assert not ASKED.says(plan, "digest")
    assert not asked.says(ASKED.plan(FOUND, "digest", {}), "digest")


def test_how_many_classes_there_are_must_be_said_by_someone(refused: Any) -> None:
    plain = TensorDataset(torch.zeros(3, 1), torch.zeros(3))
    with refused("class_names", "labels"):
        replace(ASKED, head=False, class_names=None).plan(BACKBONE, "digest", rows(train=plain))


def test_precision_is_an_entry_only_where_it_is_not_float32() -> None:
    assert "precision" not in ASKED.plan(FOUND, "digest", {}).specification
    assert replace(ASKED, precision="bf16").plan(FOUND, "digest", {}).specification["precision"] == "bf16"


def test_a_classifier_of_several_layers_is_recorded() -> None:
    weight = torch.arange(15.0).reshape(3, 5)
    terms = (Term("one", 2, 0.5), Term("two", 3, 0.5))
    plan = ASKED.plan(found(Classifier("one+two", weight, torch.zeros(3), terms), "one+two"), "digest", {})
    assert plan.specification["terms"] == [
        {"name": "one", "width": 2, "factor": 0.5, "normalised": False},
        {"name": "two", "width": 3, "factor": 0.5, "normalised": False},
    ]
    plain = Classifier("fc", weight, torch.zeros(3), (Term("fc", 5),))
    assert "terms" not in ASKED.plan(found(plain), "digest", {}).specification


def test_views_are_planned_and_how_they_are_drawn_is_recorded(pictures: Any) -> None:
    splits = {"train": Rows("train", pictures(7), 0, views=3), "val": Rows("val", pictures(3), 0)}
    plan = ASKED.with_splits(ASKED.plan(FOUND, "digest", {}), splits)
    train = plan.splits["train"]
    assert (train.rows, train.views, train.bounds) == (21, 3, (0, 21))
    assert train.made_with == {"device": "cpu", "augmentation": "of the data set"}
    assert plan.splits["val"].made_with == {"device": "cpu"}
