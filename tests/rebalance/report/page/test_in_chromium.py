"""The page as people meet it: in a real browser, with mouse and keyboard, in the dark, on a phone and on paper.

Chromium is the system's own, for nothing is installed here. Where it or Playwright is absent these tests skip, unless
REBALANCE_NEED_CHROMIUM says that they must run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rebalance.report.drawing import Drawing
from rebalance.report.page.rendering import printable, render


@pytest.fixture(scope="module")
def html(judged: dict[str, Any], drawings: list[Drawing]) -> str:
    return render(judged, drawings)


def natural(text: str) -> list[Any]:
    """What a text is sorted by: numbers in it by their size."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.lower())]


def number(text: str) -> float:
    """The number a cell shows."""
    groups = ("few", "medium", "many")
    return float(groups.index(text) if text in groups else text.replace("−", "-").replace(",", "").strip("< "))


# All columns of a table clicked, each twice: [aria-sort, the column's texts] after every click.
CLICKS = """(table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells].map((heading, column) =>
  [1, 2].map(() => {
    heading.querySelector("button").click();
    const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
    const texts = cells.map((cell) => (cell.querySelector("bdi") ?? cell.firstChild).textContent);
    return [heading.getAttribute("aria-sort"), heading.dataset.sort, texts];
  }))"""


def test_opens_without_a_word_and_asks_for_nothing(html: str, visit: Callable[..., Any]) -> None:
    visited = visit(html)
    assert visited.page.title() == "Classifiers of photos.cache, judged on test"
    assert visited.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    widths = visited.page.evaluate("""() => ["iiii", "WWWW"].map((text) => {
      const span = document.createElement("span");
      span.textContent = text;
      document.body.append(span);
      return span.offsetWidth;
    })""")
    assert 0 < widths[0] < widths[1] / 2  # there is a font, and it has these letters
    visited.quiet()


def test_policy_stops_what_the_page_was_not_written_with(html: str, visit: Callable[..., Any]) -> None:
    smuggled = '<script>document.title = "changed"</script><img src="http://127.0.0.1:9/x.png"><p style="color: red">'
    visited = visit(html.replace("<main>", f"<main>{smuggled}"))
    visited.page.wait_for_function("window.violations.length === 3")
    assert {rule.split("-")[0] for rule in visited.page.evaluate("window.violations")} == {"script", "img", "style"}
    assert visited.page.title().startswith("Classifiers")


def test_every_column_sorts_both_ways_with_dashes_last(html: str, visit: Callable[..., Any]) -> None:
    visited = visit(html)
    tables = visited.page.query_selector_all("table.sortable")
    assert len(tables) == 5
    for table in tables:
        before = table.eval_on_selector_all("tbody:first-of-type tr", "rows => rows.length")
        for column, clicks in enumerate(table.evaluate(CLICKS)):
            assert {order for order, _, _ in clicks} == {"ascending", "descending"}
            for order, kind, texts in clicks:
                assert len(texts) == before
                filled = [text for text in texts if text != "–"]
                assert texts == filled + ["–"] * (before - len(filled))
                key: Callable[[str], Any] = natural if kind == "text" else number
                assert [key(text) for text in filled] == sorted(map(key, filled), reverse=order == "descending"), column
        assert table.eval_on_selector_all("[aria-sort]", "headings => headings.length") == 1
    # Below all others, however they are sorted.
    assert "failed: RuntimeError" in visited.page.locator("#accuracy tbody tr").last.inner_text()
    visited.quiet()


def test_keyboard_sorts(html: str, visit: Callable[..., Any]) -> None:
    page = visit(html).page
    heading = page.locator("#accuracy thead th", has_text="few")
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Tab")
    assert "worst class" in page.evaluate("document.activeElement.textContent")


def test_search_by_name_and_by_id(html: str, visit: Callable[..., Any]) -> None:
    visited = visit(html)
    page, rows = visited.page, visited.page.locator("#per-class tbody tr")
    status = page.locator("#shown")
    assert status.inner_text() == "30 classes"
    page.get_by_label("Search").fill("WARB")
    assert status.inner_text() == "6 matching “WARB” (30 in all)"
    assert all("warbler" in text for text in rows.all_inner_texts())
    page.locator("#per-class thead th", has_text="id").locator("button").click()
    assert rows.first.locator("td").first.inner_text() == "25"  # the search outlasts a sort
    page.get_by_label("Search").fill(" 7 ")
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["27", "17", "7"]
    page.get_by_label("Search").fill("no such class")
    assert (rows.count(), status.inner_text()) == (0, "0 matching “no such class” (30 in all)")
    page.get_by_label("Search").fill("")
    assert (rows.count(), status.inner_text()) == (30, "30 classes")
    assert page.locator("#all").is_hidden()
    visited.quiet()


def test_thousands_of_classes_stay_usable(
    judged: dict[str, Any], widen: Callable[..., dict[str, Any]], visit: Callable[..., Any]
) -> None:
    visited = visit(render(widen(judged, 8142), []))
    page, status = visited.page, visited.page.locator("#shown")
    assert status.inner_text() == "250 of 8,142 classes shown"
    spent = page.evaluate("""() => [...document.querySelectorAll("#per-class button")].map((button) => {
      const start = performance.now();
      button.click();
      document.body.offsetHeight;
      return performance.now() - start;
    })""")
    assert len(spent) == 10
    assert max(spent) < 1000  # milliseconds; about 60
    page.get_by_label("Search").fill("species 8141")
    assert page.locator("#per-class tbody tr").count() == 1
    assert status.inner_text() == "1 matching “species 8141” (8,142 in all)"
    page.get_by_label("Search").fill("species 1")
    assert status.inner_text() == "250 of 1,111 matching “species 1” (8,142 in all) shown"
    page.locator("#all").click()
    assert page.locator("#per-class tbody tr").count() == 1111
    visited.quiet()


def test_hostile_texts_do_nothing(
    hostile: dict[str, Any], hostile_texts: tuple[str, ...], acting: Any, visit: Callable[..., Any]
) -> None:
    visited = visit(render(hostile, [acting]))
    page = visited.page
    page.locator("table").first.hover()
    for summary in page.locator("summary").all()[:2]:
        summary.click()
    for button in page.locator("th button").all()[:3]:
        button.click()
    page.get_by_label("Search").fill("<script>")
    names = page.locator("#per-class tbody th").all_text_contents()
    assert names
    assert all("<script>" in name for name in names)
    assert page.evaluate("[...document.scripts].length") == 1
    assert page.evaluate("document.querySelectorAll('iframe, svg, base, object, embed, form').length") == 0
    text = page.evaluate("document.body.textContent")
    assert all(printable(hostile_text) in text for hostile_text in hostile_texts)
    visited.quiet()


# The contrast of an element's text with what is behind it, by the formula of WCAG 2.
CONTRAST = """(selectors) => selectors.map((selector) => {
  const element = document.querySelector(selector);
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const light = (colour) => colour.match(/[0-9.]+/g).slice(0, 3)
    .map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const [high, low] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)]
    .sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
})"""
TEXTS = ["p", ".rule", "td", "td small", ".chosen td", ".chosen small", "td.gain", "td.loss", ".chosen .gain"]
TEXTS += [".badge", ".star", "thead th", ".failed td", ".tiles .was", ".tiles .gain", ".tiles .loss", "a", "dt", "dd"]
TEXTS += ["figcaption", "#shown", "input", "summary span", "code"]


def test_light_and_dark(html: str, visit: Callable[..., Any]) -> None:
    grounds = []
    for scheme, other in (("light", "dark"), ("dark", "light")):
        page = visit(html, color_scheme=scheme).page
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.locator(f"img.{scheme}").first.is_visible()
        assert page.locator(f"img.{other}").first.is_hidden()
        ratios = dict(zip(TEXTS, page.evaluate(CONTRAST, TEXTS), strict=True))
        assert min(ratios.values()) >= 4.5, ratios
    assert grounds[0] == "rgb(255, 255, 255)"
    assert grounds[0] != grounds[1]


def test_prints(html: str, visit: Callable[..., Any]) -> None:
    visited = visit(html, color_scheme="dark")
    page = visited.page
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", paper)) >= 4
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("img.light").first.is_visible()
    assert page.locator("img.dark").first.is_hidden()
    assert page.locator(".controls :is(label, button)").all() != []
    assert not any(control.is_visible() for control in page.locator(".controls :is(label, button)").all())
    assert page.locator("#shown").inner_text() == "30 classes"
    assert page.locator("nav").is_hidden()
    assert all(part.is_visible() for part in page.locator("details dl").all())  # closed as they are on the screen
    style = "(element) => [getComputedStyle(element).display, getComputedStyle(element).breakInside]"
    assert page.locator("#per-class thead").evaluate(style)[0] == "table-header-group"
    assert page.locator("figure").first.evaluate(style)[1] == "avoid"
    assert page.locator("#per-class tbody tr").first.evaluate(style)[1] == "avoid"
    visited.quiet()


def test_paper_says_how_many_classes_it_leaves_out(
    judged: dict[str, Any], widen: Callable[..., dict[str, Any]], visit: Callable[..., Any]
) -> None:
    page = visit(render(widen(judged, 300), [])).page
    page.emulate_media(media="print")
    assert page.locator("#shown").is_visible()
    assert page.locator("#shown").inner_text() == "250 of 300 classes shown"


@pytest.mark.parametrize("name", ["x" * 3000, "many words " * 300])
def test_long_names_take_three_lines_and_are_found_whole(
    payload: dict[str, Any], name: str, visit: Callable[..., Any]
) -> None:
    payload["classes"]["names"][3] = f"{name}end"
    for head in payload["heads"][:3]:  # the starred and the chosen one too
        head |= {"name": f"{head['name']} {name}", "marks": ["tuned on test"]}
    payload["chosen"] = payload["heads"][0]["name"]
    page = visit(render(payload, [])).page
    heights = "rows => Math.max(...rows.map((row) => row.offsetHeight))"
    assert page.locator("tr").evaluate_all(heights) < 130
    assert page.locator("#accuracy .chosen .badge").is_visible()
    assert page.locator("#accuracy .star").first.is_visible()
    page.get_by_label("Search").fill("end")
    assert page.locator("#per-class tbody tr").count() == 1


def test_a_box_says_where_there_is_more_of_its_table(html: str, visit: Callable[..., Any]) -> None:
    page = visit(html, viewport={"width": 400, "height": 800}).page
    box = page.locator(".box", has=page.locator("#differences"))
    shade = "(box) => [getComputedStyle(box, '::after').content, box.classList.contains('begun')]"
    page.locator(".box.more #differences").wait_for()
    assert box.evaluate(shade) == ['""', False]
    box.evaluate("(box) => box.scrollTo(99999, 0)")
    page.locator(".box.begun:not(.more) #differences").wait_for()
    assert box.evaluate(shade) == ["none", True]
    page.locator("body").evaluate("(body) => { body.style.maxWidth = 'none'; }")
    page.set_viewport_size({"width": 4000, "height": 800})
    page.locator(".box:not(.begun, .more) #differences").wait_for()


def test_a_phone_scrolls_tables_and_never_the_page(
    html: str, hostile: dict[str, Any], drawings: list[Drawing], visit: Callable[..., Any]
) -> None:
    long = "unbroken" * 40
    for head in hostile["heads"]:
        head |= {"name": head["name"] + long, "marks": [long], "record": {long: {long: long}}}
    hostile |= {"cache": long, "rule": long, "chosen": hostile["heads"][0]["name"]}
    hostile["classes"]["names"] = [long] * len(hostile["classes"]["names"])
    for text in (html, render(hostile, drawings)):
        page = visit(text, viewport={"width": 360, "height": 740}).page
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate("[...document.querySelectorAll('.box')].every((box) => box.scrollWidth > box.clientWidth)")
        assert page.evaluate("Math.max(...[...document.images].map((image) => image.offsetWidth))") <= 360


def test_without_javascript_the_tables_are_there(html: str, visit: Callable[..., Any]) -> None:
    visited = visit(html, java_script_enabled=False)
    page = visited.page
    assert page.locator("#accuracy tbody tr").count() == 12
    assert page.locator("#per-class tbody tr").count() == 30
    assert page.locator("th button").count() == 0
    assert page.locator(".controls").is_hidden()
    assert visited.troubles == []
    assert visited.requests[0] == visited.url
