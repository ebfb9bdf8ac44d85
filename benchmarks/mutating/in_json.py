"""Changes of a JSON document: numbers to extremes, other types, entries dropped, added, doubled and exchanged."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

Place = tuple[Any, ...]

NUMBERS: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 4095, 4096, 4160, 2**16, 2**20, 2**20 + 1),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**40 + 1, 2**53 + 1, 2**62, 2**63 - 64, 2**63, 2**64, -(2**63)),
    *(1.0, 3.0, 0.5, -0.0, 1e308, 10**30, 10**4299, -(10**4000)),
)
TEXTS = (
    *("", "0", "train", "val", "../val", "/etc", "a/b", "none", "float16", "float32", "features", "crc", "é", "\0"),
    *("\x1b[31mred", "two\nlines", "\u202etxt", "\u2028", "|S4", "|S5", "|S0", "|S999999", "<f2", "<f4", ">f4", "<f8"),
    *("<i8", "|O", "|V8", "<U4", "<c8", "x" * 5000, "(3,)<f4", "|S٣"),
)
# What no Python value gives: text that goes into the document as it is.
RAW = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 5000, "1e-999", "-0", '"\\ud800"', '"\\udcff"'),
    *("[" * 400 + "]" * 400, "[" * 960 + "]" * 960, '{"a":' * 900 + "1" + "}" * 900, "[" * 100_000 + "]" * 100_000),
    *('"' + "y" * 100_000 + '"', "[" + "0," * 50_000 + "0]", "01", "0x10", "nul", "1.", '"\\u00"', "{1:2}"),
    *("[" + ",".join(map(str, range(20_000))) + "]", "{" + ",".join(f'"{i}":{i}' for i in range(5_000)) + "}"),
)


def places(value: Any, at: Place = ()) -> list[Place]:
    """Every place in a document, itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, entry in inner for place in ((*at, key), *places(entry, (*at, key)))]


def at(document: Any, place: Place) -> Any:
    """What stands at a place."""
    for key in place:
        document = document[key]
    return document


class Draft:
    """A document being changed.

    document: it. raws: texts that stand for the marks in it. doubled: keys that come twice in their object.
    """

    def __init__(self, document: Any) -> None:
        self.document = copy.deepcopy(document)
        self.raws: list[str] = []

    def text(self, rng: Random) -> bytes:
        """The document as JSON of any style."""
        style = rng.choice(({"separators": (",", ":")}, {"indent": 1}, {}))
        text = json.dumps(self.document, ensure_ascii=rng.random() < 0.5, **style)  # type: ignore[arg-type]
        for number, raw in reversed(list(enumerate(self.raws))):
            text = text.replace(f'"@{number}@"', raw)
        return text.encode("utf-8", errors="surrogatepass")

    def raw(self, text: str) -> str:
        """A mark that stands for the text."""
        self.raws.append(text)
        return f"@{len(self.raws) - 1}@"

    def change(self, rng: Random, other: Any) -> str:
        """Change something; what was done. other: a document whose entries may be taken over."""
        before = json.dumps(self.document)
        for _ in range(100):
            change = rng.choice(CHANGES)
            everywhere = places(self.document)
            if not everywhere:
                break
            if change is _step:
                everywhere = [place for place in everywhere if type(at(self.document, place)) is int] or everywhere
            place = rng.choice(everywhere)
            change(rng, self, place, other)
            if json.dumps(self.document) != before:
                return f"{change.__name__[1:]} {'.'.join(map(str, place))}"
        return "nothing"

    def put(self, place: Place, value: Any) -> None:
        """Give a place another value."""
        at(self.document, place[:-1])[place[-1]] = value


def _number(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    draft.put(place, rng.choice(NUMBERS))


def _step(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    old = at(draft.document, place)
    if type(old) is int and abs(old) < 2**70:
        draft.put(place, rng.choice((old + 1, old - 1, -old, old * 2, old + 64, old - 64, float(old), old == 1)))


def _text(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    draft.put(place, rng.choice(TEXTS))


def _raw(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    draft.put(place, draft.raw(rng.choice(RAW)))


def _retyped(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    value = at(draft.document, place)
    draft.put(place, rng.choice((None, True, False, [], {}, [value], {"0": value}, str(value), "null", 0)))


def _dropped(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    del at(draft.document, place[:-1])[place[-1]]


def _added(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    inside = at(draft.document, place[:-1])
    value = copy.deepcopy(rng.choice([*inside] if isinstance(inside, list) else [*inside.values()]))
    if isinstance(inside, list):
        inside.insert(rng.randrange(len(inside) + 1), value)
    else:
        inside[rng.choice((*TEXTS, "view", "logits", "test", "more"))] = value


def _doubled(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    """A key that comes twice with different values: which one is meant?"""
    inside = at(draft.document, place[:-1])
    if isinstance(inside, dict):
        key = place[-1]
        value = rng.choice((None, 0, inside[key], {}, rng.choice(list(inside.values()))))
        pair = [json.dumps(inside[key]), json.dumps(value)]
        rng.shuffle(pair)
        mark = draft.raw(f"{pair[0]}, {json.dumps(key)}: {pair[1]}")
        inside[key] = mark


def _exchanged(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    inside = at(draft.document, place[:-1])
    there = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
    inside[place[-1]], inside[there] = inside[there], inside[place[-1]]


def _shuffled(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    value = at(draft.document, place)
    if isinstance(value, list):
        rng.shuffle(value)
    elif isinstance(value, dict):
        pairs = list(value.items())
        rng.shuffle(pairs)
        draft.put(place, dict(pairs))


def _taken(rng: Random, draft: Draft, place: Place, other: Any) -> None:
    """The other document's value of the same name, or of any."""
    try:
        value = at(other, place)
    except (KeyError, IndexError, TypeError):
        value = at(other, rng.choice(places(other)))
    draft.put(place, copy.deepcopy(value))


CHANGES: tuple[Callable[[Random, Draft, Place, Any], None], ...] = (
    *(_number, _number, _step, _step, _step, _text, _raw, _retyped, _dropped, _added, _doubled),
    *(_exchanged, _shuffled, _taken),
)
