"""The digits and their fixed split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featurecache.datasets.digits import TEST_ROWS, TRAIN_MAX, VAL_ROWS, open_digits
from featurecache.datasets.transforms import ImageTransform

PLAIN = ImageTransform(8, channels=1, crop=1.0)


def test_all_digits_are_there() -> None:
    images = open_digits("digits", transform=PLAIN)
    assert len(images) == 1797
    assert images.class_names == tuple("0123456789")
    tensor, label = images[0]
    assert label == 0
    # The first row of scikit-learn's first digit, a zero: 0 0 5 13 9 1 0 0 of 16 levels, to 8 bits.
    assert np.allclose(tensor[0, 0] * 16, [0, 0, 5, 13, 9, 1, 0, 0], atol=0.04)  # half of 1/255, times 16


def test_parts_are_disjoint_and_of_their_sizes() -> None:
    parts = {name: open_digits(f"digits:{name}", transform=PLAIN) for name in ("train", "val", "test")}
    ids = [sample_id for part in parts.values() for sample_id in part.sample_ids]
    assert len(set(ids)) == len(ids)
    assert np.bincount(parts["val"].labels).tolist() == [VAL_ROWS] * 10
    assert np.bincount(parts["test"].labels).tolist() == [TEST_ROWS] * 10
    counts = np.bincount(parts["train"].labels, minlength=10)
    assert counts[0] == TRAIN_MAX
    assert counts.tolist() == [90, 59, 39, 25, 17, 11, 7, 5, 3, 2]  # 90 * 45 ** (-k / 9), rounded


def test_the_split_is_the_same_every_time_and_labels_are_true() -> None:
    whole = open_digits("digits", transform=PLAIN)
    part = open_digits("digits:train", transform=PLAIN)
    assert part.sample_ids == open_digits("digits:train", transform=PLAIN).sample_ids
    rows = [int(sample_id) for sample_id in part.sample_ids]
    assert rows == sorted(rows)
    assert np.array_equal(part.labels, whole.labels[rows])
    assert np.array_equal(part[7][0], whole[rows[7]][0])


def test_known_classes_keep_their_columns(refused: Any) -> None:
    images = open_digits("digits:val", transform=PLAIN, class_names=["x", *"9876543210"])
    assert images.labels.min() == 1
    assert images[0][1] == 10 - int(open_digits("digits:val", transform=PLAIN).labels[0])
    with refused("class '9' is not one of the 9 known classes"):
        open_digits("digits", transform=PLAIN, class_names=list("012345678"))


@pytest.mark.parametrize("source", ["digits:", "digits:dev"])
def test_another_part_is_refused(source: str, refused: Any) -> None:
    with refused("expected digits:train, digits:val, digits:test"):
        open_digits(source, transform=PLAIN)
