"""Predictions under another prior: Bayes' rule from --source-prior to --target-prior, in files and decisions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from featurecache import FeatureCache
from rebalance import LinearHead, load_head
from rebalance.prior import log_prior
from rebalance.source_prior import source_prior

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def probabilities(rows: list[dict[str, str]]) -> np.ndarray[Any, Any]:
    """(N, 4) by class, of a file with all four of them."""
    found = np.full((len(rows), 4), np.nan)
    for row, cells in enumerate(rows):
        for place in range(1, 5):
            found[row, int(cells[f"prediction_{place}"])] = float(cells[f"probability_{place}"])
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file to be written."""
    return tmp_path / "p.csv"


def posterior(project: Any, name: str, ratio: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The probabilities of a head on test, times a ratio a class."""
    cache = FeatureCache(project.cache)
    head = LinearHead(*cache.head) if name == "joint" else load_head(project.heads[name])
    p = head(cache["test"].features).double().softmax(dim=1).numpy() * ratio
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def test_probabilities_and_decisions_follow(project: Any, tmp_path: Path, out: Path, answer: Answer) -> None:
    (tmp_path / "prior.csv").write_text("class,share\nfox,0.7\ncat,0.1\ndog,0\neel,0.2\n", "utf-8")
    target = np.array([0.1, 0, 0.2, 0.7])
    train = log_prior(FeatureCache(project.cache).counts).exp().numpy()
    # joint was trained on the rows as they come, crt with all classes alike.
    for name, source, said in (
        ("joint", train, "train (as recorded for joint)"),
        ("crt", np.full(4, 1 / 4), "uniform (as recorded for crt)"),
    ):
        words = ("--split", "test", "--out", out, "--top-k", 4, "--target-prior", tmp_path / "prior.csv")
        found = answer("predict", project.cache, project.heads.get(name, name), *words)
        expected = posterior(project, name, target / source)
        np.testing.assert_allclose(probabilities(table(out)), expected, rtol=1e-9)
        assert [int(row["prediction_1"]) for row in table(out)] == expected.argmax(axis=1).tolist()
        assert {row["probability_4"] for row in table(out)} == {"0.0"}
        assert {row["prediction_4"] for row in table(out)} == {"1"}
        assert found["source_prior"] == said


@pytest.mark.parametrize("source", ["train", "uniform", "file"])
def test_a_given_source(source: str, project: Any, tmp_path: Path, out: Path, done: Run) -> None:
    (tmp_path / "prior.txt").write_text("0.4 0.3 0.2 0.1", "utf-8")
    shares = {
        "train": log_prior(FeatureCache(project.cache).counts).exp().numpy(),
        "uniform": np.full(4, 0.25),
        "file": np.array([0.4, 0.3, 0.2, 0.1]),
    }
    given = tmp_path / "prior.txt" if source == "file" else source
    words = ("--split", "test", "--out", out, "--top-k", 4, "--target-prior", "uniform", "--source-prior", given)
    done("predict", project.cache, project.heads["tau_norm"], *words)
    expected = posterior(project, "tau_norm", 1 / shares[source])
    np.testing.assert_allclose(probabilities(table(out)), expected, rtol=1e-9)


def test_the_same_prior_changes_no_byte(project: Any, tmp_path: Path, done: Run) -> None:
    files = []
    for more in ((), ("--target-prior", "train"), ("--target-prior", "train", "--source-prior", "train")):
        files.append(tmp_path / f"{len(files)}.csv")
        done("predict", project.cache, "joint", "--out", files[-1], *more)
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_images_too(project: Any, tmp_path: Path, out: Path, done: Run, misused: Refused) -> None:
    words = ("predict", project.photos / "test", project.model, "--out", out, "--top-k", 4)
    done(*words)
    plain = probabilities(table(out))
    misused(*words, "--target-prior", "uniform", holds=("--source-prior is missing", "a model does not say"))
    (tmp_path / "prior.txt").write_text("0.4\n0.3\n0.2\n0.1\n", "utf-8")
    done(*words, "--target-prior", "uniform", "--source-prior", tmp_path / "prior.txt")
    expected = plain / [0.4, 0.3, 0.2, 0.1]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(table(out)), expected, rtol=1e-6)  # of printed numbers


@pytest.mark.parametrize("near", [True, False], ids=["found", "named"])
@pytest.mark.parametrize(
    ("name", "target", "source"),
    [("temperature", "uniform", None), ("crt", "backward:50", None), ("crt", "train", "train")],
)
def test_images_are_told_the_counts_of_the_head_s_cache(
    name: str,
    target: str,
    source: str | None,
    near: bool,
    project: Any,
    tmp_path: Path,
    out: Path,
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
) -> None:
    (tmp_path / "apart" / "heads").mkdir(parents=True)
    monkeypatch.chdir(project.cache.parent if near else tmp_path)
    head = tmp_path / "apart" / "heads" / "h.safetensors"
    head.write_bytes(project.heads[name].read_bytes())
    weights = tmp_path / "apart" / "heads" / "joint.pt"
    weights.write_bytes(project.model.read_bytes())
    words = ("--target-prior", target, "--out", out, "--top-k", 4, *(("--source-prior", source) if source else ()))
    images = ("predict", project.photos / "test", head, "--model", f"run:{weights}", *words)
    if not near:
        refused(*images, holds=("not known", "none was found", "--cache"))
        images = (*images, "--cache", project.cache)
    found = answer(*images)
    of_images = probabilities(table(out))
    of_cache = answer("predict", project.cache, head, "--split", "test", *words)
    assert found["source_prior"] == of_cache["source_prior"]
    np.testing.assert_allclose(of_images, probabilities(table(out)), rtol=1e-2, atol=2e-3)  # of float16 features
    assert found["accuracy"] == of_cache["accuracy"]["test"]


def test_a_checkpoint_is_told_the_cache(project: Any, tmp_path: Path, out: Path, done: Run, refused: Refused) -> None:
    words = ("predict", project.photos / "test", project.model, "--out", out, "--top-k", 4)
    done(*words)
    plain = probabilities(table(out))
    words = (*words, "--source-prior", "train", "--target-prior", "uniform")
    refused(*words, holds=("not known", "--cache"))
    done(*words, "--cache", project.cache)
    expected = plain / log_prior(FeatureCache(project.cache).counts).exp().numpy()
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(table(out)), expected, rtol=1e-6)  # of printed numbers


def test_counts_are_a_source(project: Any, tmp_path: Path, done: Run) -> None:
    for name, text in (("counts", "40 30 20 10"), ("shares", "0.4 0.3 0.2 0.1")):
        (tmp_path / f"{name}.txt").write_text(text, "utf-8")
        words = ("--target-prior", "uniform", "--source-prior", tmp_path / f"{name}.txt")
        found = done("predict", project.cache, "joint", "--out", tmp_path / f"{name}.csv", *words)
        assert ("the numbers sum to 100 and are divided by that" in found.stderr) == (name == "counts")
    assert (tmp_path / "counts.csv").read_bytes() == (tmp_path / "shares.csv").read_bytes()


def test_what_the_records_of_fitted_heads_tell(project: Any) -> None:
    counts = FeatureCache(project.cache).counts
    priors = {name: source_prior(load_head(path).record, 4, counts) for name, path in project.heads.items()}
    uniform = {name for name, prior in priors.items() if prior is not None and float(prior.max() - prior.min()) < 1e-9}
    assert {name for name, prior in priors.items() if prior is None} == {
        *("tau_norm", "multiplicative", "ldam", "weight_balance", "vector_scaling", "bias_corrected_temperature"),
        *("vs_loss", "focal", "over_smoothing"),
    }
    assert uniform == {
        *("ncm", "crt", "lws", "logit_adjust", "lda", "cosine", "balanced_softmax", "logit_adjusted_loss"),
        "label_aware_smoothing",
    }
    assert set(priors) - uniform > {"joint", "temperature", "marc", "disalign", "class_balanced"}
