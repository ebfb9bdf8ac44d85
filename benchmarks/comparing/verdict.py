"""What the rows come to, in sentences that are computed: also where a peer is the better one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from comparing.pairs import Pair, is_unfinished, median, pairs
from comparing.questions import CANDIDATES, HONEST, OWNERS
from comparing.tables import percent, seconds, times

Sets = Mapping[str, Mapping[str, Any]]
NEAR = 1.1  # times: closer than this two times or two memories count as alike
UNNOTICED = 0.1  # seconds: closer than this two times count as alike, too
CALIBRATED = 0.001  # of ECE: closer than this two count as alike


def sentences(sets: Sets) -> Iterator[str]:
    """The verdict, a point each. sets: name -> facts and rows of a data set."""
    found = list(pairs(sets))
    if not found:
        yield "No peer and no head of ours that answers the same question both came to a result"
        return
    ratio = times(statistics.median(pair.speed for pair in found))
    yield f"{_counted('Time of the fit', map(_quicker, found), 'quicker')}; the median peer takes {ratio} as long"
    yield _counted("Balanced accuracy, beyond two standard errors", (pair.sign for pair in found), "higher")
    yield _counted("Peak memory of the process, its libraries in it", map(_smaller, found), "smaller")
    yield _libraries(sets)
    honest = [pair for pair in found if pair.candidate.question == HONEST]
    if honest:
        yield _counted("ECE after one temperature", map(_calibrated, honest), "lower")
    yield from _unanswered(sets)


def _quicker(pair: Pair) -> int:
    """1 where ours is, -1 where the peer is, 0 where nobody would notice; so too below."""
    alike = abs(median(pair.theirs) - median(pair.ours)) < UNNOTICED
    return 0 if alike else _sign(pair.speed)


def _smaller(pair: Pair) -> int:
    return _sign(pair.memory)


def _calibrated(pair: Pair) -> int:
    difference = pair.theirs["figures"]["ece"] - pair.ours["figures"]["ece"]
    return 0 if abs(difference) < CALIBRATED else 1 if difference > 0 else -1


def _sign(ratio: float) -> int:
    return 1 if ratio > NEAR else -1 if ratio < 1 / NEAR else 0


def _counted(what: str, signs: Iterable[int], word: str) -> str:
    every = list(signs)
    better, worse = every.count(1), every.count(-1)
    alike = len(every) - better - worse
    many = f"{len(every)} pair{'s' if len(every) != 1 else ''}"
    return f"{what}: of {many} ours is {word} in {better}, the peer in {worse}; alike: {alike}"


def better(sets: Sets) -> list[tuple[str, ...]]:
    """Where a peer is: data, peer, what, its figure and ours, the row of ours."""
    rows = []
    for pair in pairs(sets):
        peer = f"{OWNERS[pair.candidate.side]}: `{pair.candidate.name}`"
        lost = []
        if _quicker(pair) < 0:
            lost.append(("time", *(f"{seconds(median(row))} s" for row in (pair.theirs, pair.ours))))
        if pair.sign < 0:
            lost.append(("balanced accuracy", *_percents(pair, "balanced")))
        if pair.candidate.question == HONEST and _calibrated(pair) < 0:
            lost.append(("ECE", *_percents(pair, "ece")))
        rows += [(pair.data, peer, *each, f"`{pair.candidate.against}`") for each in lost]
    return rows


def _percents(pair: Pair, figure: str) -> tuple[str, str]:
    return f"{percent(pair.theirs['figures'][figure])} %", f"{percent(pair.ours['figures'][figure])} %"


def _libraries(sets: Sets) -> str:
    """What the libraries alone take, by side."""
    sides = {candidate.name: candidate.side for candidate in CANDIDATES}
    known: dict[str, list[float]] = {}
    for made in sets.values():
        for row in made["rows"]:
            if row["libraries"] is not None:
                known.setdefault(OWNERS[sides[row["name"]]], []).append(row["libraries"] / 1e6)
    each = ", ".join(f"{statistics.median(values):.0f} MB for {side}" for side, values in known.items())
    return f"Before a process meets any data its libraries take {each}: on small sets that is most of it"


def _unanswered(sets: Sets) -> Iterator[str]:
    for name, made in sets.items():
        for row in made["rows"]:
            if row["stopped"]:
                yield f"No result on {name}: `{row['name']}`, {row['stopped']}"
            elif is_unfinished(row):
                yield f"Ended by the limit on {name}, and judged as it stood: `{row['name']}`, {row['note']}"


def best(sets: Sets) -> list[tuple[str, ...]]:
    """A line a set: title, times of peers to ours, and the best of ours and of peers: name, accuracy, seconds."""
    sides = {candidate.name: candidate.side for candidate in CANDIDATES}
    table = []
    for name, made in sets.items():
        judged = [row for row in made["rows"] if not row["stopped"]]
        ratios = [pair.speed for pair in pairs({name: made})]
        cells = [made["facts"]["title"], f"{times(statistics.median(ratios))} ({times(max(ratios))})" if ratios else ""]
        for own in (True, False):
            rows = [row for row in judged if (sides[row["name"]] == "ours") is own]
            top = max(rows, key=lambda row: row["figures"]["balanced"], default=None)
            cells += ["", "", ""] if top is None else [
                f"`{top['name']}`", f"{percent(top['figures']['balanced'])} %", seconds(median(top))
            ]  # fmt: skip
        table.append(tuple(cells))
    return table
