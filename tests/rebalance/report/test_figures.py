"""The pictures show what they are given, whatever it is called."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from rebalance.report.figures import before_after, plain, save, spearman

COUNTS = np.array([5, 200, 40, 0])
RECALLS = {"joint": [0.1, 0.9, 0.5, np.nan], "crt": [0.6, 0.8, 0.6, np.nan]}
NORMS = {"joint": [0.5, 2.0, 1.0, 0.4], "crt": [1.0, 1.1, 0.9, 1.0]}


def draw(names: list[str] | None = None, **options: Any) -> Figure:
    return before_after(
        options.get("recalls", RECALLS), options.get("norms", NORMS), options.get("counts", COUNTS), class_names=names
    )


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_ending_decides_the_format(ending: str, magic: bytes, tmp_path: Path) -> None:
    save(draw(["a", "b", "c", "d"]), tmp_path / f"figure.{ending}")
    assert (tmp_path / f"figure.{ending}").read_bytes().startswith(magic)


def test_an_ending_it_cannot_write_is_refused(tmp_path: Path, refuses: Any) -> None:
    with refuses("docx"):
        save(draw(), tmp_path / "figure.docx")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(ending: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
    for path in files:
        save(draw(["a", "b", "c", "d"]), path)
    assert files[0].read_bytes() == files[1].read_bytes()
    # Both are written within a second; a time of day in them would differ tomorrow.
    assert b"CreationDate" not in files[0].read_bytes()


def test_saving_leaves_matplotlibs_settings_alone(tmp_path: Path) -> None:
    names = ("svg.hashsalt", "text.usetex", "font.family", "savefig.dpi")
    before = {name: rcParams[name] for name in names}
    save(draw(), tmp_path / "figure.svg")
    assert {name: rcParams[name] for name in names} == before


def test_classes_are_sorted_by_training_rows() -> None:
    left, right = halves(draw(["rare", "frequent", "some", "none"]))
    assert [label.get_text() for label in left.get_xticklabels()] == ["frequent", "some", "rare", "none"]
    joint = next(line for line in left.get_lines() if line.get_label() == "joint")
    np.testing.assert_array_equal(joint.get_ydata(), [0.9, 0.5, 0.1, np.nan])
    assert right.get_xscale() == "log"


def test_norms_are_relative_and_correlated_in_the_legend() -> None:
    figure = draw()
    right = halves(figure)[1]
    points = np.asarray(right.collections[0].get_offsets())
    np.testing.assert_allclose(points[:, 1], np.array(NORMS["joint"]) / np.mean(NORMS["joint"]))
    np.testing.assert_allclose(points[:, 0], [5, 200, 40, 0.5])  # a class without rows has a place on the axis
    labels = [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()]
    assert labels[0] == f"joint (ρ = {spearmanr(NORMS['joint'], COUNTS).statistic:+.2f})"


def halves(figure: Figure) -> list[Axes]:
    """Recall on the left, norms on the right."""
    return [half.axes[0] for half in figure.subfigs]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]


def test_every_head_is_drawn() -> None:
    names = [f"head{i}" for i in range(12)]
    figure = draw(recalls=dict.fromkeys(names, RECALLS["joint"]), norms=dict.fromkeys(names, NORMS["joint"]))
    assert legend(figure) == names
    lines = halves(figure)[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(names)
    assert len(halves(figure)[1].collections) == len(names)


def test_a_head_whose_name_begins_with_an_underscore_is_in_the_legend() -> None:
    figure = draw(recalls={"_mine": RECALLS["joint"]}, norms={"_mine": NORMS["joint"]})
    assert len(legend(figure)) == 1
    assert "mine" in legend(figure)[0]


NASTY = ["$\\alpha", "a\x1b[31m", "$\\frac{", "x$y$z", "\n\n", "_^{}\\", "", "x" * 500, "\u202eabc", "\udcff"]


@pytest.mark.parametrize("name", NASTY, ids=[ascii(name)[:12] for name in NASTY])
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    names = [name, "$", "b", "c"]
    figure = draw(
        names, recalls={f"{name}h": RECALLS["joint"], "b": RECALLS["crt"]}, norms={name + "h": NORMS["joint"]}
    )
    save(figure, tmp_path / "figure.svg")
    save(figure, tmp_path / "figure.png")


def test_names_in_scripts_the_font_has_not_are_drawn(tmp_path: Path) -> None:
    save(draw(["猫", "犬", "🐈", "नमस्ते"]), tmp_path / "figure.png")


@given(st.text(max_size=60), st.integers(2, 40))
def test_plain_names_are_short_printable_and_no_mathematics(text: str, limit: int) -> None:
    out = plain(text, limit)
    shown = out.replace(r"\$", "$")
    assert len(shown) <= limit
    assert shown.isprintable()
    assert len(re.findall(r"\$", out)) == out.count(r"\$")
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_plain_on_examples() -> None:
    assert plain("tabby cat") == "tabby cat"
    assert plain("a$b$c") == r"a\$b\$c"
    assert plain("a\x1b[31m") == "a\ufffd[31m"
    assert plain("x" * 50, 5) == "xxxx…"


def test_a_hundred_classes_are_not_named() -> None:
    counts = np.arange(100)
    figure = draw(
        [str(k) for k in range(100)],
        recalls={"joint": np.linspace(0, 1, 100)},
        norms={"joint": np.linspace(1, 2, 100)},
        counts=counts,
    )
    assert halves(figure)[0].get_xlabel() == "classes, most training rows first"


@given(
    st.integers(3, 20).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.integers(1, 1000).map(lambda i: i / 1000)),
            arrays(np.int64, n, elements=st.integers(0, 30)),
        )
    )
)
def test_spearman_is_scipys(drawn: Any) -> None:
    a, b = drawn
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert spearman(a, b) == 0
    else:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_norms_that_differ_by_rounding_have_no_order() -> None:
    assert spearman(1 + 1e-7 * np.arange(10), np.arange(10)) == 0


def test_a_head_without_weights_can_be_drawn() -> None:
    assert spearman(np.zeros(4), COUNTS) == 0
    figure = draw(norms={"zeros": np.zeros(4)})
    assert np.isfinite(np.asarray(halves(figure)[1].collections[0].get_offsets())).all()


def test_drawing_needs_neither_pyplot_nor_a_display() -> None:
    code = (
        "import sys\n"
        "from rebalance.report.figures import before_after\n"
        "before_after({'a': [1.0, 0.5]}, {'a': [1.0, 2.0]}, [3, 4])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
