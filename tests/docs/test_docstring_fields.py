"""docs/_ext: docstrings as lists of parameters, help as it reads, formulas as drawings, links that lead outside."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from docutils.core import publish_doctree
from docutils.nodes import Text, field, list_item

from rebalance import METHODS
from rebalance.methods import hyperparameters

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def extension() -> Iterator[type]:
    """`extension.load("docstring_fields")` imports a module of docs/_ext."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))

    class Extension:
        @staticmethod
        def load(name: str) -> ModuleType:
            return importlib.import_module(name)

    yield Extension
    sys.path.remove(str(ROOT / "docs" / "_ext"))


DOCSTRING = """\
The head with ``z_k / |w_k|``, see `tune`.

head: the joint head; may be None. features, labels: (N, D) and (N,), the
rows that --on names.
tau: 0 leaves the weights * all of them:
1 makes |w| one.
A class without rows is never predicted.
ValueError when a norm is 0. Nothing else is raised.

What follows n_ is prose.
Source: Somebody et al. (2020),
section 3.
"""


def test_every_kind_of_line_goes_to_its_field(extension: type) -> None:
    lines = extension.load("docstring_fields").lines_of(DOCSTRING, {"head", "features", "labels", "tau"})
    tree = publish_doctree("\n".join(lines), settings_overrides={"report_level": 1, "halt_level": 1})
    fields = {each[0].astext(): each[1] for each in tree.findall(field)}
    assert list(fields) == ["Parameters", "raises ValueError", "Source"]
    assert [item.astext() for item in fields["Parameters"].findall(list_item)] == [
        "head – the joint head; may be None.",
        "features, labels – (N, D) and (N,), the rows that --on names.",
        "tau – 0 leaves the weights * all of them: 1 makes |w| one.",
    ]
    assert fields["raises ValueError"].astext() == "when a norm is 0. Nothing else is raised."
    assert fields["Source"].astext() == "Somebody et al. (2020), section 3."
    prose = tree.astext()[: tree.astext().index("Parameters")].split("\n\n")
    assert prose[:3] == [
        "The head with z_k / |w_k|, see tune.",
        "A class without rows is never predicted.",
        "What follows n_ is prose.",
    ]


def test_names_that_are_no_parameters_are_attributes(extension: type) -> None:
    lines = extension.load("docstring_fields").lines_of("A report; top1: of rows. values: all of them.", {"values"})
    assert lines[0] == "A report."
    assert [line for line in lines if line.startswith(":")] == [":Parameters:", ":Attributes:"]


@pytest.mark.parametrize(
    "text",
    [
        "The format is this: a colon within a sentence.",
        "It says\nwhy: nothing ended before that word.",
        "A list::\n\n    name: code stays code",
    ],
)
def test_what_only_looks_like_a_parameter_is_left(extension: type, text: str) -> None:
    assert not any(
        "Parameters" in line or "Attributes" in line for line in extension.load("docstring_fields").lines_of(text)
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_docstring_of_every_method_is_read_whole(extension: type, method: str) -> None:
    function = METHODS[method].function
    text = inspect.getdoc(function) or ""
    lines = extension.load("docstring_fields").lines_of(text, inspect.signature(function).parameters)
    tree = publish_doctree("\n".join(lines), settings_overrides={"report_level": 1, "halt_level": 1})
    shown = " ".join(each.astext() for each in tree.findall(Text))
    # No word is lost, whatever field it went to; marks around words may be.
    words = [re.sub(r"[`:.,;]", "", word) for word in re.sub(r"Source: |ValueError", " ", text).split()]
    missing = [word for word in words if word not in re.sub(r"[`:.,;]", "", shown)]
    assert missing == []
    listed = next(each for each in tree.findall(field) if each[0].astext() == "Parameters")
    for name in hyperparameters(function):
        assert re.search(rf"(^|\n|, ){name}(, [\w, ]+)? – ", listed[1].astext()), name


def test_a_formula_is_one_drawing_on_its_line(extension: type) -> None:
    drawing = extension.load("formulas").drawing
    svg = ElementTree.fromstring(drawing(r"z_k < \frac{w_k}{|w_k|^\tau} \, x"))
    assert svg.attrib["aria-label"] == r"z_k < \frac{w_k}{|w_k|^\tau} \, x"
    assert svg.attrib["fill"] == "currentColor"
    left, top, width, height = map(float, svg.attrib["viewBox"].split())
    points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", svg[0].attrib["d"])
    assert all(left - 1 <= float(x) <= left + width + 1 and top <= float(y) <= top + height for x, y in points)
    depth = re.search(r"vertical-align:-([\d.]+)em", svg.attrib["style"])
    assert depth is not None
    assert float(depth[1]) == pytest.approx((top + height) / 10, abs=1e-3)  # an em is ten units, the baseline is y = 0
    with pytest.raises(ValueError, match="nonsense"):
        drawing(r"\nonsense")


def test_links_to_pages_outside_are_downloads(extension: type, tmp_path: Path) -> None:
    downloads = extension.load("outside_links").downloads
    root = tmp_path / "docs"
    root.mkdir()
    (tmp_path / "README.md").write_text("x")
    (root / "start.md").write_text("x")
    text = "[`a`](../README.md), [b](start.md), [c](../docs/start.md), [d](../missing.md), [e](../tests), [f](../f.py)"
    (tmp_path / "tests").mkdir()
    (tmp_path / "f.py").write_text("x")
    expected = text.replace("[`a`](../README.md)", "{download}`a <../README.md>`").replace("[e](../tests)", "e")
    assert downloads(text, root / "page.md", root) == expected


def test_the_page_of_methods_is_that_of_the_registry() -> None:
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert rows == re.findall(r"^\| `(\w+)` \| .* \| (.*) \| (.*) \|$", readme, re.MULTILINE)
    assert {name: (on.split(" ")[0], source) for name, on, source in rows} == {
        name: (method.on or "–", method.source) for name, method in METHODS.items()
    }
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(METHODS)
    for name, method in METHODS.items():
        tuned, options = (
            re.findall(r"`(\w+)`", "".join(re.findall(rf"\*{said}:\* ([^*]*)", sections[name])))
            for said in ("Tuned", "Options")
        )
        assert set(tuned) == ({method.path.parameter} if method.path else set(method.grid)), name
        assert sorted(tuned + options) == sorted(hyperparameters(method.function)), name
        assert "*When:*" in sections[name]
        assert "$$" in sections[name]
