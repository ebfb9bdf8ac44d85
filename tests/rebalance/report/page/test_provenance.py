"""Records and options as short lines of text, however long, deep or odd they are."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rebalance.report.page.provenance import LONGEST, MOST_LINES, lines, provenance, records

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_everything_that_is_needed_to_make_it_again_is_there(payload: dict[str, Any]) -> None:
    parts = dict(provenance(payload | {"predictions": "out.csv"}))
    assert ("hash", payload["provenance"]["cache"]) in parts["Judged on"]
    assert ("seed", "3") in parts["Judged on"]
    assert ("select", "1se") in parts["Options"]
    assert ("torch", "2.13.0+cpu") in parts["Versions"]
    assert ("versions.torch", "2.13.0+cpu") in parts["The split was made with"]
    assert parts["Files"] == [("predictions", "out.csv")]


def test_drawings_are_a_folder_and_a_number(payload: dict[str, Any]) -> None:
    paths = [f"figs/{name}.{ending}" for name in ("recall", "norms") for ending in ("svg", "png", "csv")]
    assert dict(provenance(payload | {"figures": paths}))["Files"] == [("figures", "figs: 6 files")]
    assert dict(provenance(payload | {"figures": ["a/x.svg", "x.svg"]}))["Files"] == [
        ("figures", "a: 1 file, .: 1 file")
    ]


def test_what_is_not_known_has_no_part(payload: dict[str, Any]) -> None:
    payload["provenance"] |= {"joint": None, "created_with": {}}
    titles = [title for title, _ in provenance(payload)]
    assert {"Joint head", "The split was made with", "Files"}.isdisjoint(titles)


def test_joint_head_may_be_known_by_its_hash_alone(payload: dict[str, Any]) -> None:
    payload["provenance"]["joint"] = "94aa43012fe6"
    assert dict(provenance(payload))["Joint head"] == [("hash", "94aa43012fe6")]


def test_a_head_says_how_it_was_made(payload: dict[str, Any]) -> None:
    crt = next(record for record in records(payload) if record.head == "crt")
    assert crt.made == "fitted on train, tuned on val, tau = 0.5152"
    assert crt.file == "photos.heads/crt.safetensors"
    assert crt.lines[0] == ("file", "photos.heads/crt.safetensors")
    assert ("hyperparameters.tau", "0.5151619954190064") in crt.lines
    assert ("tuned.parameters.tau", "0.5151619954190064") in crt.lines
    assert ("tuned.interval", "[-0.41, 1.03]") in crt.lines
    assert not any("class_names" in name for name, _ in crt.lines)


def test_a_record_has_an_order_whatever_its_file_has(payload: dict[str, Any]) -> None:
    head = payload["heads"][0]
    before = records(payload)[0].lines
    assert before[1][0] == "method"
    head["record"] = dict(reversed(head["record"].items()))
    assert records(payload)[0].lines[1] == before[1]
    assert sorted(records(payload)[0].lines) == sorted(before)


def test_a_record_of_another_program_is_shown_as_it_is(payload: dict[str, Any]) -> None:
    payload["heads"][0]["record"] = {"tuned": "yes", "fitted_on": ["a", "b"], "epochs": 5}
    assert records(payload)[0].made == "fitted on a, b"
    payload["heads"][0]["record"] = {}
    assert records(payload)[0].made == ""


@settings(max_examples=50)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_record_is_a_bounded_number_of_short_lines(record: dict[str, Any]) -> None:
    found = lines(record)
    assert len(found) <= MOST_LINES + 1
    assert all(len(text) <= 40 * LONGEST for _, text in found)


def test_long_and_deep_values_are_cut() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    record = {"text": "x" * 10**6, "list": list(range(10**6)), "deep": deep, "x" * 10**6: {"y" * 10**6: 1}}
    assert all(len(name) < 1000 and len(text) < 1000 for name, text in lines(record))
    assert len(lines({str(k): k for k in range(10**5)})) == MOST_LINES + 1
    assert len(lines({"a": {str(k): k for k in range(10**5)}})) == MOST_LINES + 1
    assert lines("text") == [("", "text")]
