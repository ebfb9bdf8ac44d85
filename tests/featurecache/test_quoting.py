"""A stranger's text is one short line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from featurecache.quoting import MAX_SHOWN, shown


@given(st.text())
def test_shown_text_is_one_short_line(text: str) -> None:
    line = shown(text * 50)
    assert line.isprintable()
    assert len(line) <= MAX_SHOWN + 1


def test_control_characters_are_spelled_out() -> None:
    assert shown("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert shown("plain") == "'plain'"
