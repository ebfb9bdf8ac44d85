"""How the pages are written: links that lead somewhere, comments that are understood, blocks of known kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = {"sh", "python"}
SHOWN = {"text", "console", "json", "toml", "yaml", "csv"}


def test_every_link_leads_to_a_file(page: Any) -> None:
    parts = {link: urlsplit(link) for link in page.links}
    inside = {link: page.path.parent / unquote(at.path) for link, at in parts.items() if not at.scheme and at.path}
    assert [link for link, target in inside.items() if not target.exists()] == []
    assert [link for link, target in inside.items() if not target.resolve().is_relative_to(ROOT)] == []


def test_every_comment_about_a_block_stands_before_one(page: Any) -> None:
    assert page.stray == ()


def test_blocks_are_run_or_of_a_kind_that_is_only_shown(page: Any) -> None:
    # Anything else, such as bash or py, would never be run, and nobody would notice.
    strange = {block.language for block in page.blocks} - RUN - SHOWN
    assert [language for language in strange if not language.startswith("{")] == []


@pytest.mark.parametrize("text", ["[a](nowhere.md)", "![a](../outside.png)", "<!-- setup: x -->", "```py\n1\n```"])
def test_a_wrong_page_is_seen(tmp_path: Path, read_page: Any, text: str) -> None:
    (tmp_path / "outside.png").touch()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bad.md").write_text(text, "utf-8")
    bad = read_page(tmp_path / "docs" / "bad.md")
    seen = 0
    for check in (
        test_every_link_leads_to_a_file,
        test_every_comment_about_a_block_stands_before_one,
        test_blocks_are_run_or_of_a_kind_that_is_only_shown,
    ):
        try:
            check(bad)
        except AssertionError:
            seen += 1
    assert seen == 1
