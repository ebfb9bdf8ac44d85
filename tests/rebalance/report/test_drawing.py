"""A drawing is the same bytes every time, and closed to the outside."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from rebalance.report.drawing import Drawing
from rebalance.report.style import Style


def paint(figure: Figure, style: Style) -> None:
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], "o-", color=style.ink, label="<script>alert(1)</script> $x_1$")
    axes.bar([1, 2], [3, 4], hatch="//", edgecolor=style.ink)
    axes.legend()


DRAWING = Drawing("some", "Some", "Something.", ["name", "value"], [["=a", 1.5], ["b", None]], paint)


@pytest.mark.parametrize(
    ("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("csv", b"name,value\n'=a,1.5")]
)
def test_the_ending_decides_the_format(ending: str, magic: bytes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        DRAWING.write(tmp_path / f"{name}.{ending.upper()}")
    one, two = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert one.startswith(magic)
    assert one == two
    # Both are written within a second; a time of day in them would differ tomorrow.
    assert b"CreationDate" not in one
    assert b"<dc:date>" not in one


def test_an_ending_it_cannot_write_is_refused(tmp_path: Path, refuses: Any) -> None:
    with refuses("docx", r"\.svg"):
        DRAWING.write(tmp_path / "figure.docx")
    assert list(tmp_path.iterdir()) == []


def test_save_writes_picture_and_numbers(tmp_path: Path) -> None:
    assert DRAWING.save(tmp_path) == [tmp_path / name for name in ("some.svg", "some.png", "some.csv")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.csv", "some.png", "some.svg"]
    assert (tmp_path / "some.svg").read_text("utf-8") == DRAWING.svg()
    assert (tmp_path / "some.png").read_bytes() == DRAWING.png()


@pytest.mark.parametrize("dark", [False, True])
def test_an_svg_holds_no_text_no_script_and_no_address(dark: bool) -> None:
    text = DRAWING.svg(dark)
    root = ElementTree.fromstring(text)
    tags = {element.tag.split("}")[1] for element in root.iter()}
    assert tags <= {"svg", "defs", "style", "g", "path", "use", "clipPath", "rect", "pattern"}
    assert "alert" not in text
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)  # the names of the formats
    links = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', text)
    assert links
    assert all((a or b).startswith("#") for a, b in links)


def test_the_dark_picture_is_the_light_one_in_other_colours() -> None:
    light, dark = DRAWING.svg(), DRAWING.svg(dark=True)

    def bare(text: str) -> str:
        return re.sub(r'(<use [^>]*)? ?style="[^"]*"|#[0-9a-f]+|id="[^"]*"', "", text)

    assert light != dark
    assert "#ffffff" in light
    assert "#ffffff" not in dark
    assert bare(light).count("<path") - bare(dark).count("<path") in (0, 1)  # the page itself


def test_matplotlibs_settings_neither_change_nor_matter() -> None:
    plain = DRAWING.svg()
    with rc_context({"font.size": 30, "text.color": "red", "axes.grid": True, "svg.fonttype": "none"}):
        before = dict(rcParams)
        assert DRAWING.svg() == plain
        assert dict(rcParams) == before


def test_drawing_needs_neither_pyplot_nor_a_display() -> None:
    code = (
        "import sys\n"
        "from rebalance.report.figures import before_after\n"
        "before_after({'a': [1.0, 0.5]}, {'a': [1.0, 2.0]}, [3, 4]).svg()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
