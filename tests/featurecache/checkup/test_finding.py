"""How a stranger's error becomes one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from featurecache.checkup.finding import LONGEST, failed, one_line, passed, warned


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line.isprintable()
    assert len(line) <= LONGEST


def test_an_error_is_shown_with_its_type() -> None:
    assert one_line(OSError("first\nsecond")) == "OSError: first second"


def test_only_what_passed_needs_no_mending() -> None:
    assert [each.status for each in (passed("a", "b"), warned("a", "b", "c"), failed("a", "b", "c"))] == [
        "PASS",
        "WARN",
        "FAIL",
    ]
    assert (passed("a", "b").mend, warned("a", "b", "c").mend, failed("a", "b", "c").mend) == ("", "c", "c")
