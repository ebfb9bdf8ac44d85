"""Series are told apart without colour, and any name can be drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rcParams
from matplotlib.colors import to_rgb

from rebalance.report.style import DARK, LIGHT, Style, class_labels, head_labels, label, plain


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_differ_in_more_than_colour(style: Style) -> None:
    marks = [style.mark(i) for i in range(40)]
    assert len(set(marks)) == len(marks)
    for what in ("colour", "marker", "line", "hatch"):
        assert len({getattr(mark, what) for mark in marks[:8]}) == 8, what


def luminance(colour: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("style", "page"), [(LIGHT, "#ffffff"), (DARK, "#16181c")], ids=["light", "dark"])
def test_text_and_the_first_series_stand_out_from_the_page(style: Style, page: str) -> None:
    def contrast(colour: str) -> float:
        high, low = sorted((luminance(colour), luminance(page)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast(style.ink) > 7  # WCAG's AAA for text
    assert all(contrast(colour) > 3 for colour in style.series[:4])  # and AA for graphics
    assert contrast(style.bars) < 3


def test_settings_are_known_to_matplotlib() -> None:
    assert set(LIGHT.settings()) <= set(rcParams)


@given(st.text(max_size=60), st.integers(2, 40))
def test_plain_names_are_short_and_printable(text: str, limit: int) -> None:
    out = plain(text, limit)
    assert len(out) <= limit
    assert out.isprintable()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_latin_names_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


def test_plain_on_examples() -> None:
    assert plain("a$b$c") == "a$b$c"
    assert plain("a\x1b[31m") == "a\ufffd[31m"
    assert plain("a\xa0b") == "a b"
    assert plain("x" * 50, 5) == "xxxx…"
    assert plain("🐈 cat") == "□ cat"


def test_labels_are_kept_in_legends() -> None:
    assert not label("_mine").startswith("_")
    assert label("") != ""


def test_a_class_whose_name_cannot_be_drawn_has_its_id() -> None:
    assert class_labels(["cat", "猫", "", "🐈 cat", "\n\n"], 5) == ["cat", "class 1", "class 2", "□ cat", "class 4"]
    assert class_labels(None, 2) == ["0", "1"]


def test_a_head_whose_name_cannot_be_drawn_has_its_place() -> None:
    expected = {"crt": "crt", "分類器": "head 2", "": "head 3", "🐈 cat": "□ cat", "_x": " _x"}
    assert head_labels(["crt", "分類器", "", "🐈 cat", "_x"]) == expected
