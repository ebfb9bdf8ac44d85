"""What commands show."""

from __future__ import annotations

import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance_cli import output
from rebalance_cli.output import clean, emit, note, percent, progress, table

HARMFUL = {
    "escape": "\x1b[31mred\x1b[0m",
    "eight-bit escape": "\x9b31mred",
    "title": "\x1b]0;title\x07",
    "line feed": "two\nlines",
    "carriage return": "real\rfake",
    "backspace": "good\x08\x08bad",
    "right-to-left override": "rtl\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "mark": "a\u200fb",
    "zero width": "a\u200bb",
    "line separator": "a\u2028b",
    "surrogate": "a\udcffb",
}


@pytest.mark.parametrize("text", HARMFUL.values(), ids=HARMFUL)
def test_what_acts_on_a_terminal_is_replaced(text: str) -> None:
    shown = clean(text)
    assert len(shown) == len(text)
    assert "\ufffd" in shown
    assert shown.isprintable()


@given(st.text(st.characters(exclude_categories=[]), max_size=200), st.integers(1, 80))
def test_clean_text_is_short_printable_and_stays_so(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    assert clean(shown, limit) == shown


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=60))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_percent() -> None:
    assert [percent(value) for value in (None, 0.0, 0.12345, 1.0)] == ["–", "0.0", "12.3", "100.0"]


def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    payload = {"class": "Bär\n", "none": None, "values": [1, 0.5]}
    assert emit(payload, as_json=True)
    out, err = capsys.readouterr()
    assert (json.loads(out), out.count("\n"), err) == (payload, 1, "")


def test_nothing_is_printed_where_no_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert not emit({"a": 1}, as_json=False)
    assert capsys.readouterr() == ("", "")


def test_json_holds_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit({"value": float("nan")}, as_json=True)


def test_notes_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    note("a note")
    assert capsys.readouterr() == ("", "a note\n")


def test_a_table_keeps_strangers_text_harmless_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[bold]x[/bold]", "\x1b[31mred", "w" * 60]
    table(["class", "rows"], [[name, "12"] for name in names], caption="three classes")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert [line.rstrip() for line in lines[2:-1]] == [
        f"{name:60}    12".rstrip() for name in ("[bold]x[/bold]", "\ufffd[31mred", "w" * 60)
    ]
    assert (lines[0].split(), lines[-1]) == (["class", "rows"], "three classes")


def test_a_wide_table_is_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [f"column {i}" for i in range(10)]
    table(["name", *columns], [["n" * 40, *("100.0" for _ in columns)]])
    out = capsys.readouterr().out
    assert [name for name in columns if name not in out] == []
    assert out.count("100.0") == 10


def become_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout becomes a terminal with colours and 40 columns."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


def test_what_a_terminal_has_no_room_for_goes_on_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    become_a_terminal(monkeypatch)
    columns = [f"column {i}" for i in range(6)]
    table(["name", *columns], [["first", *(f"{i}.0" for i in range(6))]], caption="six")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert [line.split() for line in lines if "first" in line] == [
        ["first", *(f"{i}.0" for i in part)] for part in ((0, 1, 2), (3, 4, 5))
    ]
    assert [line.count("column") for line in lines if "name" in line] == [3, 3]
    assert (max(map(len, lines)) <= 40, lines[-1]) == (True, "six")


def test_a_column_wider_than_the_terminal_stands_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    become_a_terminal(monkeypatch)
    table(["name", "a", "b"], [["first", "x" * 50, "y" * 50]])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "first" in line] == ["first", "first"]


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    become_a_terminal(monkeypatch)
    rows = [["first", ("+1.0", "green")], ["second", "0.0"]]
    table(["name", "gain"], rows)
    assert "\x1b[32m+1.0" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    table(["name", "gain"], rows)
    assert "\x1b[32m" not in capsys.readouterr().out
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    table(["name", "gain"], rows)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "first   +1.0" in out


def test_progress_is_a_line_now_and_then_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with progress("extract") as update:
        update(1, 9, "train")
        now += output.LINE_EVERY
        update(2, 9, "tr\x1bain")
        update(3, 9, "train")
        now += output.LINE_EVERY
        update(9, 9, "train")
    assert capsys.readouterr() == ("", "extract tr\ufffdain 2/9\nextract train 9/9\n")


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("extract") as update:
        for done in (5, 9):
            update(done, 9, "[red]\x07train")
    out, err = capsys.readouterr()
    assert out == ""
    assert "9/9" in err
    assert "[red]\ufffdtrain" in err
