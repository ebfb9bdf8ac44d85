"""Every method's head on one cache: made by the same rule, or taken from the folder where it is kept."""

from __future__ import annotations

import hashlib
import inspect
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..feeding import Feeding, everywhere
from ..fit import fitted_head, unfinished
from .chosen import Rule, chosen_head, doubts
from .kept_heads import STAMP, KeptHeads, content, reason

if TYPE_CHECKING:
    from featurecache import FeatureCache, Split
    from rebalance import LinearHead

    from ..judging.columns import Column
    from ..judging.judged import Criteria

JOINT, ON_TOP = "joint", "temperature"
SAME = 1e-9  # values of a metric that differ by less are equal: sums over the same rows, rounded


@dataclass(frozen=True)
class Entry:
    """What became of one method.

    name: of its row. head: None where it failed. file: where the head is kept, None where it is not. value: the metric
    on the judging rows; None for a head that was fitted on them, which they cannot judge. why: it failed, on one line.
    notes: what is to be said of the head, a sentence each. reused: whether it was there. damage: of the file that was
    there, for which it was made again. seconds: that it took.
    """

    name: str
    head: LinearHead | None = None
    file: Path | None = None
    value: float | None = None
    why: str | None = None
    notes: tuple[str, ...] = ()
    reused: bool = False
    damage: str | None = None
    seconds: float = 0.0


def best(entries: Sequence[Entry], *, lower: bool = False) -> Entry | None:
    """The entry of the best value, the first of equals; None where no value is known. lower: whether less is better."""
    sign = -1 if lower else 1
    judged = [(sign * entry.value, entry) for entry in entries if entry.value is not None]
    highest = max((value for value, _ in judged), default=0.0)
    return next((entry for value, entry in judged if value >= highest - SAME), None)


@dataclass(frozen=True)
class Contest:
    """The methods' heads on a cache.

    joint: the cache's own head, or None. judging: the split whose rows choose. rule: how a method's hyperparameters are
    chosen. goal: the figure that one of the heads is chosen by. by: the prior and costs it is under. kept: where heads
    lie. seed: of everything that is drawn.
    """

    cache: FeatureCache
    joint: LinearHead | None
    judging: Split
    rule: Rule
    goal: Column
    by: Criteria
    kept: KeptHeads
    seed: int

    @cached_property
    def feeding(self) -> Feeding:
        """Where all methods get their rows from."""
        return Feeding(self.kept.device)

    def order(self, names: Sequence[str]) -> list[str]:
        """The methods in the order they are made: the joint head first wherever there is one, ON_TOP last."""
        first = [JOINT] if self.joint is not None or JOINT in names else []
        return [
            *first,
            *(name for name in names if name not in (JOINT, ON_TOP)),
            *([ON_TOP] if ON_TOP in names else []),
        ]

    def best(self, entries: Sequence[Entry]) -> Entry | None:
        """The entry that is best by the goal, the first of equals; None where no value is known."""
        return best(entries, lower=self.goal.lower)

    def given(self, name: str, head: LinearHead, file: Path | None) -> Entry:
        """A head that is no method's: it may be chosen too, unless it was fitted on the rows that choose."""
        fitted = self.rule.folds is not None or head.record.get("fitted_on") == self.judging.name
        return Entry(name, head, file, None if fitted else self._figure(head))

    def entries(self, names: Sequence[str]) -> Iterator[Entry]:
        """What becomes of every method, in their `order`; ON_TOP goes on top of the best of the others."""
        made: list[Entry] = []
        for name in self.order(names):
            made.append(self._entry(name, self.best(made) if name == ON_TOP else None))
            yield made[-1]

    def _entry(self, name: str, base: Entry | None) -> Entry:
        """One method's entry. base: what it goes on top of, if it does."""
        began = time.perf_counter()
        title = name if base is None else f"{base.name} + {name}"
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("default")
                entry = self._made(name, title, base)
            said = [*entry.notes, *(" ".join(str(each.message).split()) for each in caught)]
            entry = replace(entry, notes=tuple(dict.fromkeys(said)))
        except Exception as error:  # what one method cannot do must not keep the others from it
            _trace()
            entry = Entry(title, why=reason(error))
        if not everywhere(entry.why is None) and entry.why is None:
            entry = Entry(title, why="it failed in another process")
        return replace(entry, seconds=time.perf_counter() - began)

    def _made(self, name: str, title: str, base: Entry | None) -> Entry:
        from rebalance import METHODS

        if name == JOINT:
            if self.joint is None:
                raise ValueError("the cache has no head of its own")
            return Entry(title, self.joint, value=self._value(name, self.joint))
        if name == ON_TOP and base is None:
            raise ValueError("there is no head to put it on top of")
        if METHODS[name].on == "val" and self._fitted_on(name) not in self.cache:
            raise ValueError("it is fitted on held-out rows, and there is no split val: leave it out of --methods")
        origin = self._origin(name, base)
        path, found = self.kept.find(title.replace(" + ", "-"), origin)
        damage = found if isinstance(found, str) else None
        head = None if isinstance(found, str) else found
        if everywhere(head is not None) and head is not None:
            return Entry(title, head, path, self._value(name, head), notes=_notes(head), reused=True)
        head, notes = self._fresh(name, self.joint if base is None else base.head)
        head, unwritten = self.kept.keep(head, path, origin, notes)
        entry = Entry(title, head, path, self._value(name, head), notes=_notes(head), damage=damage)
        if unwritten is None:
            return entry
        return replace(entry, file=None, notes=(*entry.notes, f"this head is not kept: {unwritten}"))

    def _fresh(self, name: str, start: LinearHead | None) -> tuple[LinearHead, list[str]]:
        """A head made now, and what is to be said of it. start: what the method starts from."""
        seed = _own_seed(name, self.seed)
        if not _is_tuned(name):
            head = fitted_head(name, self.cache, start, self._fitted_on(name), seed, self.feeding)
            return head, [text for text in [unfinished(head)] if text]
        grid = {key: [value] for key, value in seed.items()}
        tuned = chosen_head(
            name, self.cache, start, self.judging, self._rule(name), self.feeding, grid=grid, seed=self.seed
        )
        return tuned.head, [
            *([text] if (text := unfinished(tuned.head)) else []),
            *doubts(tuned, self.judging, beside_joint=True),
        ]

    def _value(self, name: str, head: LinearHead) -> float | None:
        """The metric on the judging rows, None where the head was fitted on them; of folds, that of their heads."""
        from rebalance import METHODS

        line = METHODS[name]
        if line.on == "val":
            return None
        if line.on and self.rule.folds:
            return float(head.record["tuned"]["value"])
        return self._figure(head)

    def _figure(self, head: LinearHead) -> float:
        """The goal of a head on the judging rows."""
        from rebalance import evaluate_head

        rows = self.feeding.rows(self.judging)
        report = evaluate_head(head, *rows, target_prior=self.by.target_prior, costs=self.by.costs)
        return float(getattr(report, self.goal.key))

    def _rule(self, name: str) -> Rule:
        """The rule of a method: one that fits nothing has no use for folds."""
        from rebalance import METHODS

        return self.rule if METHODS[name].on else replace(self.rule, folds=None)

    def _fitted_on(self, name: str) -> str:
        from rebalance import METHODS

        # Rows that take turns are those of train, which no calibration may use: the heads were fitted on them.
        held_out = "val" if self.rule.folds else self.judging.name
        return held_out if METHODS[name].on == "val" else "train"

    def _origin(self, name: str, base: Entry | None) -> dict[str, Any]:
        """All that a head is made from, as plain JSON values: equal for equal heads."""
        from rebalance import METHODS

        from ..caches import versions

        line, names = METHODS[name], self.cache.class_names
        splits = {*({"train"} & self.cache.keys()), self.judging.name if _is_tuned(name) else self._fitted_on(name)}
        search: dict[str, Any] = {key: list(values) for key, values in line.grid.items()}
        choice = {
            "on": self.judging.name,
            "seen": self.judging.seen,
            "metric": self.rule.metric,
            "select": self.rule.select,
            "folds": self._rule(name).folds,
            "search": {line.path.parameter: "exact"} if line.path else search,
        }
        return {
            "method": name,
            "on_top_of": None if base is None or base.head is None else _origin_of(base.head),
            "cache": self.cache.hash,
            "class_names": None if names is None else hashlib.sha256("\0".join(names).encode()).hexdigest(),
            "rows": {split: content(self.cache[split]) for split in sorted(splits)},
            "choice": choice if _is_tuned(name) else {"on": self._fitted_on(name)},
            "seed": self.seed,
            "version": versions()["featurecache-rebalance"],
        }


def _is_tuned(name: str) -> bool:
    """Whether there is something to choose; what is fitted on the judging rows cannot be judged on them."""
    from rebalance import METHODS

    line = METHODS[name]
    return line.on != "val" and bool(line.path or line.grid)


def _own_seed(name: str, seed: int) -> dict[str, int]:
    """The seed as a method's hyperparameter, where it has one and another is its default."""
    from rebalance import METHODS

    own = inspect.signature(METHODS[name].function).parameters.get("seed")
    return {} if own is None or own.default == seed else {"seed": seed}


def _notes(head: LinearHead) -> tuple[str, ...]:
    return tuple(str(text) for text in head.record[STAMP]["notes"])


def _origin_of(head: LinearHead) -> Any:
    return head.record[STAMP]["origin"] if STAMP in head.record else JOINT


def _trace() -> None:
    """The traceback of the error at hand, for who asked for it."""
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get("rebalance.verbose"):
        traceback.print_exc()
