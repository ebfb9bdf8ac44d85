"""The page as text: one file that fetches nothing, in which no stranger's text is more than text."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.report.drawing import Drawing
from rebalance.report.page.rendering import pieces, printable, render

TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "nav", "main", "section", "div", "wbr"),
    *("h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "details", "summary", "figure", "figcaption", "img"),
    *("table", "thead", "tbody", "tr", "th", "td", "label", "input", "button"),
    *("a", "b", "bdi", "code", "small", "span", "strong"),
}
VOID = {"meta", "img", "input", "wbr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inline: dict[str, str] = {}  # what stands in <style> and <script>
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            assert self.open[-1] not in self.inline
            self.inline[self.open[-1]] = data
        else:
            self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))


def harmless(html: str) -> Page:
    """The parsed page, after a look for anything that acts or fetches."""
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= TAGS
    assert [len(page.of(tag)) for tag in ("script", "style", "title", "h1")] == [1, 1, 1, 1]
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "action")]
        for value in (attributes.get("src"), attributes.get("href")):
            assert value is None or re.match(r"#\w+$|data:image/svg\+xml;base64,[\w+/]+=*$", value), (tag, value)
    return page


def test_page_is_one_harmless_file(payload: dict[str, Any], drawings: list[Drawing]) -> None:
    html = render(payload, drawings)
    page = harmless(html)
    assert html.startswith("<!doctype html>")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {(link["href"] or "")[1:] for link in page.of("a")} <= set(ids)
    assert "http" not in html.replace("http-equiv", "")


def test_policy_allows_the_one_style_and_the_one_script_and_nothing_else(payload: dict[str, Any]) -> None:
    page = Page(render(payload, []))
    [policy] = [m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert rules.pop("img-src") == "data:"
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.inline[tag].encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == {}


def test_same_payload_gives_the_same_bytes(payload: dict[str, Any], drawings: list[Drawing]) -> None:
    assert render(payload, drawings) == render(payload, drawings)


def test_hostile_texts_are_shown_and_nothing_more(
    hostile: dict[str, Any], hostile_texts: tuple[str, ...], drawings: list[Drawing]
) -> None:
    html = render(hostile, drawings)
    page = harmless(html)
    assert html.encode("utf-8").decode() == html  # no half of a surrogate pair
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    for text in hostile_texts:
        assert str(printable(text)) in page.text
    names = [name for name in hostile["classes"]["names"] if "<" in name]
    assert names
    assert all(name in page.text for name in names)


def test_hostile_payload_has_the_elements_of_a_kind_one(payload: dict[str, Any], hostile: dict[str, Any]) -> None:
    def classes(page: Page) -> list[str]:
        tags = [tag for tag, _ in page.elements]
        start = max(i for i, (tag, a) in enumerate(page.elements) if a.get("id") == "classes")
        end = max(i for i, (tag, a) in enumerate(page.elements) if a.get("id") == "provenance")
        return tags[start:end]

    assert classes(Page(render(payload, []))) == classes(Page(render(hostile, [])))


@pytest.mark.parametrize("text", ["</script>", "\"'<>&", "a\x00b", "\u202eabc", "\ud800", "\n\t"])
def test_title_caption_and_alternative_text_of_a_figure_are_escaped(payload: dict[str, Any], text: str) -> None:
    class Stranger:
        name, title, caption = text, f"{text} title", f"{text} caption"

        def svg(self, dark: bool = False) -> str:
            return f"<svg><script>alert(1)</script>{dark}</svg>"

    page = harmless(render(payload, [Stranger()]))  # type: ignore[list-item]
    shown = printable(text)
    assert {image["alt"] for image in page.of("img")} == {f"{shown} title"}
    assert f"{shown} caption".strip() in "".join(page.texts)


def test_figures_are_there_for_light_and_for_dark(payload: dict[str, Any], drawings: list[Drawing]) -> None:
    page = Page(render(payload, drawings))
    images = page.of("img")
    assert [image["class"] for image in images] == ["light", "dark"] * len(drawings)
    for image, drawing in zip(images[::2], drawings, strict=True):
        assert base64.b64decode((image["src"] or "").split(",")[1]).decode() == drawing.svg()
        assert (image["width"], image["height"]) == tuple(str(round(96 * side)) for side in drawing.size)
        assert image["alt"] == drawing.title
        assert drawing.caption in page.text
    for image, drawing in zip(images[1::2], drawings, strict=True):
        assert base64.b64decode((image["src"] or "").split(",")[1]).decode() == drawing.svg(dark=True)
    assert [figure.get("class") for figure in page.of("figure")] == ["wide", None]


def test_marks_failures_notes_and_options_are_said(payload: dict[str, Any]) -> None:
    payload |= {"target_prior": "forward:50", "costs": "costs.csv", "notes": ["class 28 has no row", "lws: was slow"]}
    payload["heads"][0]["notes"] = ["class 28 has no row", "did not converge"]
    next(head for head in payload["heads"] if head["name"] == "lws")["notes"] = ["was slow"]
    text = Page(render(payload, [])).text
    assert "* lws: tuned on test; its figures are optimistic" in text
    assert "failed: RuntimeError: the solver met a singular matrix" in text
    assert "weighted to the class prior forward:50" in text
    assert "Costs from costs.csv" in text
    assert text.count("class 28 has no row") == text.count("lws: was slow") == 1
    assert f"{payload['heads'][0]['name']}: did not converge" in text
    assert payload["rule"] in text
    assert payload["provenance"]["cache"] in text


@pytest.mark.parametrize("goal", ["balanced", "cost"])
def test_heads_come_sorted_by_the_goal_and_classes_by_id(payload: dict[str, Any], goal: str) -> None:
    for head in payload["heads"]:
        head["cost"] = 0.5
        if head["difference"]:
            head["difference"]["cost"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    headings = Page(render(payload | {"goal": goal}, [])).of("th")
    way = "ascending" if goal == "cost" else "descending"
    assert [heading["aria-sort"] for heading in headings if "aria-sort" in heading] == [way, way, "ascending"]


def test_notes_have_a_heading(payload: dict[str, Any]) -> None:
    assert "Notes What was noticed" in Page(render(payload | {"notes": ["a note"]}, [])).text
    for head in payload["heads"]:
        head["notes"] = []
    assert "Notes" not in Page(render(payload | {"notes": []}, [])).text


def test_a_head_can_be_traced_to_its_file(payload: dict[str, Any]) -> None:
    payload["heads"][0] |= {"name": "crt-2", "file": "theirs/crt.safetensors"}
    payload["heads"][0]["record"] = {"fitted_on": "train"}
    assert "crt-2 fitted on train theirs/crt.safetensors" in Page(render(payload, [])).text


def test_names_of_options_break_where_their_words_end(payload: dict[str, Any]) -> None:
    payload["provenance"]["options"] = {"few_includes_bound": False, "_<b>.": 1}
    html = render(payload, [])
    assert "<dt>few_<wbr>includes_<wbr>bound</dt>" in html
    assert "<dt>_<wbr>&lt;b&gt;.</dt>" in html


def test_long_names_say_all_of_themselves_in_their_titles(payload: dict[str, Any]) -> None:
    long = "a 'name' \"of\" <many> words " * 40
    payload["classes"]["names"][3] = payload["heads"][0]["name"] = long
    titles = [a["title"] for a in harmless(render(payload, [])).of("bdi") if a.get("class") == "long"]
    assert len(titles) > 2
    assert set(titles) == {long}


def test_methods_on_the_page_are_explained(payload: dict[str, Any]) -> None:
    text = Page(render(payload, [])).text
    assert "vs_loss (Kini et al., NeurIPS 2021):" in text  # it failed, and is on the page all the same
    assert "cosine (" not in text
    assert "``" not in text


def test_without_joint_counts_names_intervals_and_validation(payload: dict[str, Any]) -> None:
    for head in payload["heads"]:
        head |= {"difference": None, "mcnemar": None, "intervals": {}, "many": None, "medium": None, "few": None}
        head["record"], head["file"] = {}, None
    payload["heads"] = [head for head in payload["heads"] if head["name"] != "joint"]
    payload["classes"] |= {"names": None, "counts": None}
    payload |= {"replicates": 0, "failed": [], "chosen": None, "chosen_on": None, "against": None}
    del payload["validation"]
    page = harmless(render(payload, []))
    assert "joint" not in page.text.split("How to read this")[0]
    assert "interval" not in page.text.split("Wilson")[0]


def test_a_single_head(payload: dict[str, Any]) -> None:
    joint = [head for head in payload["heads"] if head["name"] == "joint"]
    page = harmless(render(payload | {"heads": joint, "failed": [], "chosen": None, "chosen_on": None}, []))
    assert f"joint reaches {100 * joint[0]['balanced']:.1f} % balanced" in page.text.replace("\xa0", " ")


def test_no_heads_are_refused(payload: dict[str, Any], refuses: Callable[..., Any]) -> None:
    with refuses("no heads", "at least one"):
        render(payload | {"heads": []}, [])


def test_thousands_of_classes_stay_a_small_page(payload: dict[str, Any], widen: Callable[..., dict[str, Any]]) -> None:
    wide = widen(payload, 8142)
    start = time.monotonic()
    html = render(wide, [])
    assert time.monotonic() - start < 10  # about one second
    assert len(html.encode()) < 4_000_000
    assert html.count("Genus species") == 8142


def test_what_may_stand_in_text() -> None:
    assert printable("plain text, größer, 👩‍👩‍👧, هدهد") == "plain text, größer, 👩‍👩‍👧, هدهد"
    assert printable("a\nb\tc") == "a b c"
    assert printable("\x00\x1b\x85\ud800\u202e\u2066") == "\ufffd" * 6
    assert printable(12) == "12"


@given(st.text())
def test_pieces_of_a_name_are_the_name(name: str) -> None:
    assert "".join(pieces(name)) == name
    assert all(piece.find(mark) in (-1, len(piece) - 1) for piece in pieces(name) for mark in "._")
