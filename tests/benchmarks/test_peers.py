"""benchmarks/peers.py in miniature: candidates in processes of their own, what stops them, and what is said of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import write
from rebalance import LinearHead
from rebalance.methods import METHODS, crt, logit_adjusted_loss, ncm, temperature

pytest.importorskip("imblearn", reason="imbalanced-learn is a peer: pip install imbalanced-learn")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLASSES, WIDTH = 4, 8
COUNTS = [200, 60, 20, 1]
Parts = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 4 classes of 200 down to 1 training rows."""
    rng = np.random.default_rng(0)
    means = 2 * rng.standard_normal((CLASSES, WIDTH))

    def rows(counts: list[int]) -> tuple[Any, Any]:
        labels = rng.permutation(np.repeat(np.arange(CLASSES), counts))
        return (means[labels] + rng.standard_normal((len(labels), WIDTH))).astype(np.float32), labels

    path = tmp_path_factory.mktemp("peers") / "tiny.cache"
    splits = {"train": rows(COUNTS), "val": rows([10] * CLASSES), "test": rows([25] * CLASSES)}
    head = logit_adjusted_loss(None, *splits["train"], tau=0.0)
    for split, (features, labels) in splits.items():
        write(path, split, features, labels, head=head)
    return path


@pytest.fixture(scope="module")
def material(parts: Parts, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The cache's material, its arrays written."""
    return parts("comparing.material").prepare("tiny", "Tiny", cache, tmp_path_factory.mktemp("material"))


@pytest.fixture
def arrays(parts: Parts, material: Any) -> Any:
    """The data as a peer gets them, with all the time there is."""
    return parts("comparing.sides.arrays").Arrays(material.folder, 60.0, lambda doing: None)


def test_the_script_measures_a_pair_and_writes_the_page(cache: Path, tmp_path: Path) -> None:
    pair = "ncm, un;NearestCentroid;SMOTE + LogisticRegression"
    words = ["--data", str(cache), "--work", str(tmp_path), "--threads", "1", "--into", str(tmp_path)]
    script = [sys.executable, str(BENCHMARKS / "peers.py"), *words, "--candidates", pair]
    run = subprocess.run(script, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    measured = json.loads((tmp_path / "benchmarks/results/peers.json").read_text("utf-8"))["tiny.cache"]
    ours, smote, theirs = sorted(measured["rows"], key=lambda row: row["name"] != "ncm, un")
    assert [each["name"] for each in (ours, smote, theirs)] == pair.split(";")[:1] + pair.split(";")[:0:-1]
    assert ours["figures"]["balanced"] == pytest.approx(theirs["figures"]["balanced"])  # the same class means
    assert theirs["behind"] == [0.0, 0.0]
    assert len(ours["seconds"]) == len(theirs["seconds"]) == 3
    assert all(0 < row["libraries"] < row["peak"] for row in (ours, theirs))
    assert "single training row" in smote["stopped"]
    page = (tmp_path / "docs/peers.md").read_text("utf-8")
    assert "{" not in page
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 2
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    for text in (run.stdout, page):
        assert "NearestCentroid" in text
        assert "of 1 pair " in text
        assert smote["stopped"] in text


def test_every_candidate_is_fitted_somewhere_and_compared_with_ours(parts: Parts) -> None:
    questions = parts("comparing.questions")
    names = {side: set(parts(f"comparing.sides.{side}").FITS) for side in questions.OWNERS}
    for side, fits in names.items():
        assert fits == {each.name for each in questions.CANDIDATES if each.side == side}
    for each in questions.CANDIDATES:
        assert (each.side == "ours") == (each.against == "")
        assert each.against in {*names["ours"], ""}


def test_peers_answer_the_same_question(parts: Parts, material: Any, arrays: Any) -> None:
    """In closed form, and at the minimum of a convex loss, both sides say the same."""
    scikit, reference = (parts(f"comparing.sides.{side}").FITS for side in ("scikit", "reference"))
    train, joint, decay = material.cache["train"], LinearHead(*material.cache.head), arrays.note["decay"]
    rows = (train.features, train.labels)
    val = (material.cache["val"].features, material.cache["val"].labels)
    for head, fit in (
        (ncm(joint, *rows), reference["NCM"]),
        (logit_adjusted_loss(joint, *rows, tau=0.0, weight_decay=decay, tol=1e-5), scikit["LogisticRegression"]),
        (crt(joint, *rows, weight_decay=decay, tol=1e-5), scikit["LogisticRegression, balanced"]),
        (temperature(joint, *val), scikit["CalibratedClassifierCV, temperature"]),
    ):
        here = torch.softmax(head(arrays.test), dim=1).numpy()
        there = np.exp(fit(arrays)().predict(arrays.test))
        np.testing.assert_allclose(there.sum(axis=1), 1, rtol=1e-5)
        assert (here.argmax(axis=1) == there.argmax(axis=1)).mean() >= 0.98, head.record["method"]
        # scikit-learn ends at a gradient of 1e-4; another weight decay, or weights, would move them by 0.02 and more.
        assert np.abs(here - there).mean() < 0.01, head.record["method"]


def test_the_decays_are_those_that_tune_tries(arrays: Any) -> None:
    assert tuple(arrays.note["decays"]) == METHODS["crt"].grid["weight_decay"]


def test_every_row_of_ours_is_run_with_its_peers_the_most_telling_ones_first(parts: Parts) -> None:
    questions = parts("comparing.questions")
    groups = questions.groups(questions.CANDIDATES)
    assert sorted(each.name for group in groups for each in group) == sorted(each.name for each in questions.CANDIDATES)
    assert all({each.against or each.name for each in group} == {group[0].name} for group in groups)
    assert groups[1][0].name == "crt"
    assert groups[-1][0].name == questions.LAST[-1]


def test_what_would_take_too_long_is_left_out(parts: Parts) -> None:
    questions = parts("comparing.questions")
    fashion = {"rows": 14_762, "largest": 5_950, "width": 64, "classes": 10}
    imagenet = {"rows": 115_846, "largest": 1_280, "width": 2048, "classes": 1000}
    assert all(questions.fits_into(each, **fashion) for each in questions.CANDIDATES)
    there = {each.name for each in questions.CANDIDATES if questions.fits_into(each, **imagenet)}
    assert {each.name for each in questions.CANDIDATES} - there == {
        "RandomOverSampler + LogisticRegression",
        "SMOTE + LogisticRegression",
        "LogisticRegression, balanced, C tuned",
        "LogisticRegression, C tuned",
        "logit_adjusted_loss, tau 0, tuned",
    }


def test_a_stopped_run_goes_on_and_another_begins_anew(parts: Parts, tmp_path: Path) -> None:
    reporting = parts("comparing.reporting")
    how = {"machine": "this", "threads": 1, "limit": 60.0, "facts": {"classes": 4}, "asked": ["crt", "lws"]}
    assert reporting.begun(tmp_path, "mine", how) == []
    rows = [made("crt", 2.0, 0.5)]
    reporting.keep(tmp_path, "mine", how | {"rows": rows})
    assert reporting.begun(tmp_path, "mine", how) == rows
    assert reporting.begun(tmp_path, "mine", how | {"limit": 600.0}) == []
    reporting.keep(tmp_path, "mine", how | {"rows": [*rows, made("lws", 1.0, 0.4)]})
    assert reporting.begun(tmp_path, "mine", how) == []  # it had come to its end


def test_a_process_has_loaded_its_code_before_its_first_fit(material: Any) -> None:
    code = (
        "import sys, json\nfrom pathlib import Path\nfrom comparing import child\n"
        "from comparing.sides import reference\nname = 'LWS, 5 epochs of SGD'\n"
        f"child._warm(reference, name, Path({str(material.folder / 'warm')!r}))\nbefore = set(sys.modules)\n"
        "try:\n    reference.FITS[name]\n"
        f"    rows = reference.open_data(Path({str(material.folder / 'warm')!r}), 60.0, print)\n"
        "    reference.FITS[name](rows)().predict(rows.test)\nfinally:\n    print(sorted(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_lbfgs_is_ended_in_time_and_says_so(parts: Parts, material: Any) -> None:
    doing: list[str] = []
    hurried = parts("comparing.sides.arrays").Arrays(material.folder, 0.0, doing.append)
    fitted = parts("comparing.sides.scikit").FITS["LogisticRegression, C tuned"](hurried)()
    assert fitted.note.endswith("ended after 1 iterations, not converged; 1 of 5 values of C in the time")
    assert doing == ["the first iteration of L-BFGS", "L-BFGS after iteration 1"]
    assert fitted.predict(hurried.test).shape == (25 * CLASSES, CLASSES)


def test_a_candidate_that_takes_too_long_is_killed_at_what_it_did(
    parts: Parts, material: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, questions = parts("comparing.running"), parts("comparing.questions")
    monkeypatch.setattr(running, "GRACE", 0.0)  # no time at all, where the fit may take a minute
    (candidate,) = questions.chosen(["RandomOverSampler + LogisticRegression"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with running.Worker(candidate, material.folder, 60.0, None) as worker:
        worker.ready()
        with pytest.raises(running.Stopped, match="killed after 0 s of fit"):
            worker.fit()


def test_a_candidate_that_asks_for_too_much_memory_says_so(parts: Parts, material: Any) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux refuses memory by bytes")
    code = (
        "import sys\nfrom comparing import gauge\ngauge.refuse_more_than(2**29)\nimport numpy as np\n"
        "try:\n    np.ones(2**28)\nexcept MemoryError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert "2.00 GiB" in run.stdout


def test_a_difference_and_its_error(parts: Parts) -> None:
    """The closed form, against the spread over many draws of rows with known chances."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), [30, 50, 80])
    chances = np.array([[0.9, 0.6], [0.5, 0.5], [0.8, 0.95]])  # of ours and theirs, a class
    drawn = [rng.random((2, len(labels))) < chances[labels].T for _ in range(2000)]
    found = np.array([parts("comparing.pairs").behind(ours, theirs, labels) for ours, theirs in drawn])
    truth = (chances[:, 0] - chances[:, 1]).mean()
    assert abs(found[:, 0].mean() - truth) < 5 * found[:, 0].std() / 2000**0.5
    # A standard deviation of 2,000 draws is known to 1.6 %, the mean of the variances far better: 3 of these.
    assert np.sqrt((found[:, 1] ** 2).mean()) == pytest.approx(found[:, 0].std(), rel=0.05)


def test_a_class_with_one_row_has_the_variance_of_all(parts: Parts) -> None:
    ours, theirs = np.array([True, False, True, True]), np.array([False, False, True, False])
    difference, error = parts("comparing.pairs").behind(ours, theirs, np.array([0, 0, 0, 1]))
    assert difference == pytest.approx((1 / 3 + 1) / 2)
    own = pooled = 2 / 9 * 3 / 2  # of differences 1, 0, 0 in class 0: s^2 = 1/3, and the only ones there are
    assert error == pytest.approx(np.sqrt(own / 3 + pooled / 1) / 2)


def made(name: str, seconds: float, balanced: float, behind: list[float] | None = None, note: str = "") -> Any:
    """A row with results."""
    figures = {"balanced": balanced, "few": None, "ece": 0.1}
    return {"name": name, "seconds": [seconds], "predict": 0.1, "peak": 3e8, "libraries": 2e8, "figures": figures,
            "behind": behind, "note": note, "stopped": ""}  # fmt: skip


def test_a_better_peer_is_shown_as_better(parts: Parts) -> None:
    rows = [
        made("crt", 2.0, 0.5),
        made("LogisticRegression, balanced", 1.0, 0.6, [-0.1, 0.01]),
        made("cRT, 10 epochs of SGD", 2.1, 0.51, [-0.01, 0.01]),
        made("lda", 1.0, 0.4),
        made("LinearDiscriminantAnalysis", 0.95, 0.3, [0.1, 0.01]),
    ]
    verdict = parts("comparing.verdict")
    sets = {"mine": {"facts": {"title": "Mine"}, "rows": rows}}
    lost = verdict.better(sets)
    peer = "scikit-learn: `LogisticRegression, balanced`"
    assert lost == [
        ("mine", peer, "time", "1.00 s", "2.00 s", "`crt`"),
        ("mine", peer, "balanced accuracy", "60.00 %", "50.00 %", "`crt`"),
    ]
    time, accuracy, *_ = verdict.sentences(sets)
    assert "of 3 pairs ours is quicker in 0, the peer in 1; alike: 2" in time
    assert "of 3 pairs ours is higher in 1, the peer in 1; alike: 1" in accuracy
    (line,) = verdict.best(sets)
    assert line[2:] == ("`crt`", "50.00 %", "2.00", "`LogisticRegression, balanced`", "60.00 %", "1.00")


def test_what_gave_no_result_stays_in_the_table(parts: Parts) -> None:
    stopped = made("LogisticRegression, balanced", 0.0, 0.0) | {"seconds": [], "stopped": "killed after 9 s of fit"}
    ended = made("cRT, 10 epochs of SGD", 4.0, 0.2, [0.3, 0.01], "ended after 3 iterations, not converged")
    rows = [made("crt", 2.0, 0.5), stopped, ended]
    text = parts("comparing.tables").markdown(rows)
    assert "killed after 9 s of fit" in text
    assert ">2 x" in text
    said = list(parts("comparing.verdict").sentences({"mine": {"facts": {"title": "Mine"}, "rows": rows}}))
    assert "No result on mine: `LogisticRegression, balanced`, killed after 9 s of fit" in said
    assert any(each.startswith("Ended by the limit on mine") for each in said)


def test_a_set_that_is_not_there_is_named(parts: Parts, tmp_path: Path) -> None:
    sources = parts("comparing.sources")
    assert "benchmarks/study.py" in sources.missing("icons", tmp_path)
    assert "neither a cache nor one of" in sources.missing("roses", tmp_path)


def test_an_unknown_candidate_is_refused(parts: Parts) -> None:
    with pytest.raises(ValueError, match=r"no candidate 'forest'; there are .*NearestCentroid"):
        parts("comparing.questions").chosen(["forest"])
