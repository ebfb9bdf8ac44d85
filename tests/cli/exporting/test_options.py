"""Options of export that do not go together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Misused = Callable[..., str]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to write: expected --into and --out, --module FILE.pt2 or --onnx FILE.onnx"),
        (("--into", "a.pt"), "--into CHECKPOINT and --out go together"),
        (("--out", "b.pt"), "--into CHECKPOINT and --out go together"),
        (("--into", "a.pt", "--module", "c.pt2"), "--into CHECKPOINT and --out go together"),
        (("--into", "a.pt", "--out", "b.pt", "--full"), "--full writes the whole model"),
        (("--into", "a.pt", "--full"), "nothing to write"),
        (("--module", "c.pt2", "--root", "photos"), "--root is of the images of --check"),
    ],
)
def test_they_are_refused(words: tuple[str, ...], says: str, misused: Misused) -> None:
    misused("export", "head.safetensors", *words, holds=(says,))
