"""The file of every row: what each head says of it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, Split, write
from rebalance import LinearHead, Report, evaluate_head
from rebalance_cli.judging import predictions
from rebalance_cli.judging.predictions import write_predictions

IDS = ["a/1.png", "=cmd()", "b,2", "ü/3", "c4", "c5"]
LABELS = np.array([0, 1, -1, 2, -1, 2])


@pytest.fixture
def rows(tmp_path: Path) -> Split:
    """Six rows of three classes, two of them without a label."""
    features = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 0, 1]]
    write(tmp_path / "x.cache", "test", features, LABELS, sample_ids=IDS)
    return FeatureCache(tmp_path / "x.cache")["test"]


@pytest.fixture
def reports(rows: Split) -> dict[str, Report]:
    """One head that names the feature, and one that always says 1 with nothing to go by."""
    heads = {"a": LinearHead(2 * torch.eye(3)), "b c": LinearHead(torch.zeros(3, 3), torch.tensor([0.0, 1.0, 0.0]))}
    return {name: evaluate_head(head, rows.features, rows.labels) for name, head in heads.items()}


def test_csv(rows: Split, reports: dict[str, Report], tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", rows, reports)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == [
        *("id", "label", "prediction_a", "confidence_a", "correct_a"),
        *("prediction_b c", "confidence_b c", "correct_b c"),
    ]
    assert [row["id"] for row in found] == ["a/1.png", "'=cmd()", *IDS[2:]]  # no formula for a spreadsheet
    assert [row["label"] for row in found] == ["0", "1", "", "2", "", "2"]
    assert [row["prediction_a"] for row in found] == ["0", "1", "2", "2", "0", "1"]
    assert [row["correct_a"] for row in found] == ["true", "true", "", "true", "", "false"]
    assert [row["correct_b c"] for row in found] == ["false", "true", "", "false", "", "false"]
    sure = np.exp(2) / (np.exp(2) + 2)
    assert [float(row["confidence_a"]) for row in found] == pytest.approx([sure] * 6, rel=1e-6)  # float32 logits
    assert [float(row["confidence_b c"]) for row in found] == pytest.approx([np.e / (np.e + 2)] * 6, rel=1e-6)


def test_csv_is_the_same_in_parts(
    rows: Split, reports: dict[str, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_predictions(tmp_path / "whole.csv", rows, reports)
    monkeypatch.setattr(predictions, "PART", 4)
    write_predictions(tmp_path / "parts.csv", rows, reports)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_parquet_is_the_same_table(rows: Split, reports: dict[str, Report], tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    write_predictions(tmp_path / "p.PARQUET", rows, reports)
    frame = pd.read_parquet(tmp_path / "p.PARQUET")
    assert frame["id"].tolist() == IDS
    assert frame["label"].tolist() == [0, 1, pd.NA, 2, pd.NA, 2]
    assert frame["correct_a"].tolist() == [True, True, pd.NA, True, pd.NA, False]
    assert frame["prediction_b c"].tolist() == [1] * 6
    assert np.array_equal(frame["confidence_a"], reports["a"].results.every_confidence)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_nothing_is_left_where_the_disk_fails(
    ending: str, rows: Split, reports: dict[str, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"p.{ending}"
    path.write_text("before", "utf-8")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        f"{'os' if ending == 'csv' else 'featurecache.disk'}.{'fsync' if ending == 'csv' else 'sync'}", full
    )
    with pytest.raises(OSError, match="No space"):
        write_predictions(path, rows, reports)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_text("utf-8") == "before"
