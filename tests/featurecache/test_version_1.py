"""A cache that the first release wrote stays readable for ever. It lies in data/version-1.cache; `make` made it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, layout
from featurecache.plan import CachePlan, SplitPlan
from featurecache.storage import encode_ids, head_digest
from featurecache.writer import ShardWriter
from featurecache.writing.agreement import agree

STORED = Path(__file__).with_name("data") / "version-1.cache"
SHA256 = {
    "cache.json": "0ac99d6d3528316601a4405fe228a49d4c6d5ffbfd6d6bd74a576fbdba611d78",
    "head.safetensors": "780571403e7771e3fc98dbc784d887e03975acb582df2f7bdf2a77f82ef8a16e",
    "train/00000.h5": "506ecc50752939c6317d3ae390da6910e1d207ae7a5bb0c4ec2d3b58c4acdccd",
    "train/00001.h5": "35851a5407de9981226c054d4beafe2cf8a6a4c4c682b82a33f24b49681bc37a",
    "val/00000.h5": "821f0769e8c9f998b23b6bf179bfb70a7bb83cdafce19a5f7fb7554b000d3682",
}

D, K = 3, 4
HEAD = (torch.arange(12.0).reshape(K, D) / 8, torch.tensor([0.5, -1.0, 0.0, 2.0]))
NAMES = ("cat", "dog", "Wölfe", "狼")
# Row 1 of train could not be read.
ROWS: dict[str, dict[str, Any]] = {
    "train": {
        "features": [[0.5, -1, 2], [0, 0, 0], [65504, 6e-8, -0.0], [1, 2, 3], [0.1, 0.2, 0.3]],
        "labels": [0, -1, 3, 1, 0],
        "status": [0, 1, 0, 0, 0],
        "sample_id": ["cat/1.jpg", "broken.jpg", "狼/ä b.jpg", "dog/1.jpg", "x" * 70],
        "view": [0] * 5,
    },
    "val": {
        "features": [[1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 2, 0]],
        "labels": [2, -1, 2, -1],
        "status": [0] * 4,
        "sample_id": ["a", "b", "a", "b"],
        "view": [0, 0, 1, 1],
    },
}
SPLITS = {
    "train": SplitPlan(5, 2, (0, 4, 5), True, "0" * 64, made_with={"device": "cpu", "threads": 1, "seed": 0}),
    "val": SplitPlan(4, 3, (0, 4), None, None, views=2),
}


def columns(split: str) -> dict[str, Any]:
    """What the columns of a split hold; the logits follow from the head, but for the row that could not be read."""
    rows = ROWS[split]
    features = np.array(rows["features"], np.float16)
    weight, bias = (tensor.double().numpy() for tensor in HEAD)
    logits = (features.astype(np.float64) @ weight.T + bias).astype(np.float32)  # exact before the last rounding
    logits[np.array(rows["status"]) == 1] = 0
    out = {**rows, "features": features, "logits": logits, "index": np.arange(len(features))}
    return {name: values if name == "sample_id" else np.asarray(values) for name, values in out.items()}


def make(path: Path) -> None:
    """Write the cache. In the folder of this file: `make(STORED)`, once, by the first release."""
    specification = {
        "source": "extract",
        "model": "a model",
        "weights": "1" * 64,
        "layer": "fc",
        "transform": None,
        "features": {"dtype": "float16", "width": D},
        "logits": "float32",
        "head": head_digest(*HEAD),
    }
    plan = agree(path, CachePlan(specification, K, NAMES, SPLITS), HEAD)
    for name, split in SPLITS.items():
        values = columns(name)
        values["sample_id"] = encode_ids(values["sample_id"])
        width = values["sample_id"].dtype.itemsize
        for shard, (low, high) in enumerate(zip(split.bounds[:-1], split.bounds[1:], strict=True)):
            shape = layout.columns(
                high - low, D, dtype="float16", classes=K, id_bytes=width, views=split.views, block=split.batch_size
            )
            with ShardWriter(path, plan, name, shard, shape) as writer:
                for block, start in enumerate(range(low, high, split.batch_size)):
                    stop = min(start + split.batch_size, high)
                    writer.write(block, {column: data[start:stop] for column, data in values.items()})
                writer.finish()


@pytest.fixture(params=["stored", "made"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The cache that was written by the first release, and the same written now."""
    if request.param == "stored":
        return STORED
    make(tmp_path)
    return tmp_path


def test_the_stored_files_are_what_they_were() -> None:
    found = {path.relative_to(STORED).as_posix(): path.read_bytes() for path in STORED.rglob("*") if path.is_file()}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == SHA256
    assert sum(map(len, found.values())) < 40_000


def test_everything_in_it_is_read(cache: Path) -> None:
    opened = FeatureCache(cache, verify=True)
    assert list(opened) == ["train", "val"]
    assert (opened.num_classes, opened.class_names) == (K, NAMES)
    assert opened.hash == "20c18bf1537d8d2e044ec46e3d52528d85a3010efda911f91f76e26ce566917d"
    assert torch.equal(opened.head[0], HEAD[0])
    assert torch.equal(opened.head[1], HEAD[1])
    assert opened.counts.tolist() == [2, 1, 0, 1]
    assert opened.plan.splits == SPLITS
    for name, split in opened.items():
        assert (split.seen, split.views) == (SPLITS[name].seen, SPLITS[name].views)
        for column, wanted in columns(name).items():
            found = np.asarray(getattr(split, column))
            assert np.array_equal(found, wanted), column
            assert column == "sample_id" or np.array_equal(np.signbit(found), np.signbit(wanted)), column


def test_what_it_says_of_itself(cache: Path) -> None:
    said = FeatureCache(cache).describe()
    assert said["specification"]["model"] == "a model"
    assert said["splits"]["train"]["made_with"] == {"device": "cpu", "threads": 1, "seed": 0}
    assert said["splits"]["train"]["class_counts"] == [2, 1, 0, 1]
    assert (said["splits"]["train"]["files"], said["splits"]["val"]["files"]) == (2, 1)
    assert (said["splits"]["val"]["seen"], said["splits"]["val"]["unlabelled"]) == (None, 2)
