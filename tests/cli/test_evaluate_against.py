"""Two heads of one's own: is the difference real?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def test_the_others_are_compared_with_it(project: Any, answer: Answer, done: Run) -> None:
    crt, lws = project.heads["crt"], project.heads["lws"]
    found = answer("evaluate", project.cache, crt, lws, "--against", lws)
    by_name = {head["name"]: head for head in found["heads"]}
    assert found["against"] == "lws"
    assert by_name["lws"]["difference"] is None
    expected = by_name["crt"]["balanced"] - by_name["lws"]["balanced"]
    assert by_name["crt"]["difference"]["balanced"]["value"] == pytest.approx(expected)
    assert by_name["joint"]["mcnemar"].keys() == {"only_head", "only_other", "p"}
    assert "balanced vs lws" in done("evaluate", project.cache, crt, lws, "--against", lws).stdout


def test_it_must_be_judged(project: Any, refused: Refused) -> None:
    words = ("evaluate", project.cache, project.heads["crt"], "--against", "x.safetensors")
    refused(*words, holds=("--against x.safetensors", "joint, crt"))
