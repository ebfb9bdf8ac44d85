"""A slim document is the same picture."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure

from rebalance.report.svg import slim


def document() -> str:
    figure = Figure()
    axes = figure.subplots()
    places = np.linspace(0, 1, 200)
    axes.plot(places, places**2, "o")
    axes.scatter(places, places, c=places)
    axes.set_title("a -- b <c>")
    out = io.StringIO()
    figure.savefig(out, format="svg")
    return out.getvalue()


def test_the_same_elements_at_the_same_places() -> None:
    before, after = (ElementTree.fromstring(text) for text in (document(), slim(document())))
    assert [each.tag for each in before.iter()] == [each.tag for each in after.iter()]
    for old, new in zip(before.iter(), after.iter(), strict=True):
        for name in ("x", "y"):
            assert abs(float(old.get(name, 0)) - float(new.get(name, 0))) <= 0.0051
        numbers = [re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", each.get("d", "")) for each in (old, new)]
        np.testing.assert_allclose(*(np.array(each, dtype=float) for each in numbers), rtol=0, atol=0.0051)


def styles(document: str) -> list[str]:
    """The style of every marker, its own or its group's."""
    found: list[str] = []
    for group in ElementTree.fromstring(document).iter("{http://www.w3.org/2000/svg}g"):
        uses = group.findall("{http://www.w3.org/2000/svg}use")
        found += [use.get("style") or group.get("style") or "" for use in uses]
    return found


def test_every_marker_keeps_its_style() -> None:
    assert styles(slim(document())) == styles(document())
    assert len(set(styles(document()))) > 100  # of the scatter, which cannot be shared


def test_it_is_smaller_and_has_neither_type_nor_comments() -> None:
    text = slim(document())
    assert len(text) < 0.85 * len(document())
    assert "<!" not in text
