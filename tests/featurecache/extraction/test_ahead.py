"""Work done ahead: the same items in the same order, a bounded number of them, and nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.extraction.ahead import Clock, Gate, ahead


def counted(stop: int, made: list[int], closed: list[str], fails_at: int | None = None) -> Generator[int, None, None]:
    """Numbers from 0, and a record of which were made and in which thread the generator ended."""
    try:
        for i in range(stop):
            if i == fails_at:
                raise ZeroDivisionError(f"at {i}")
            made.append(i)
            yield i
    finally:
        closed.append(threading.current_thread().name)


def threads() -> int:
    return sum(thread.name == "featurecache-ahead" for thread in threading.enumerate())


@given(st.integers(0, 30), st.integers(1, 5))
def test_the_items_are_the_same(stop: int, depth: int) -> None:
    made: list[int] = []
    closed: list[str] = []
    assert list(ahead(counted(stop, made, closed), depth)) == list(range(stop))
    assert closed == ["featurecache-ahead"]
    assert threads() == 0


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_a_few_are_made_ahead(depth: int) -> None:
    made: list[int] = []
    with closing(ahead(counted(100, made, []), depth)) as items:
        assert next(items) == 0
        # One is in use, `depth` wait, and one more is made and waits for room.
        for _ in range(200):
            if len(made) == depth + 2:
                break
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == depth + 2
    assert threads() == 0


def test_closing_ends_the_work_and_closes_the_generator_in_its_thread() -> None:
    made: list[int] = []
    closed: list[str] = []
    items = ahead(counted(10**9, made, closed), 2)
    assert [next(items) for _ in range(5)] == list(range(5))
    items.close()
    assert closed == ["featurecache-ahead"]
    assert threads() == 0


@pytest.mark.parametrize("fails_at", [0, 1, 7])
def test_an_error_comes_in_its_place(fails_at: int) -> None:
    closed: list[str] = []
    items = ahead(counted(9, [], closed, fails_at), 2)
    assert [next(items) for _ in range(fails_at)] == list(range(fails_at))
    with pytest.raises(ZeroDivisionError, match=f"at {fails_at}"):
        next(items)
    assert closed
    assert threads() == 0


def test_two_stages_end_together() -> None:
    made: list[int] = []
    closed: list[str] = []

    def doubled(items: Generator[int, None, None]) -> Generator[int, None, None]:
        for item in items:
            yield 2 * item

    with closing(ahead(counted(10**9, made, closed), 2)) as first, closing(ahead(doubled(first), 2)) as second:
        assert [next(second) for _ in range(4)] == [0, 2, 4, 6]
    assert closed
    assert threads() == 0


def test_the_second_item_waits_for_the_gate() -> None:
    made: list[int] = []
    gate = Gate()
    with closing(ahead(counted(9, made, []), 2, gate=gate)) as items:
        assert next(items) == 0
        time.sleep(0.05)
        assert made == [0]
        gate.open()
        assert list(items) == list(range(1, 9))
    assert threads() == 0


def test_a_gate_that_shuts_ends_the_work_of_every_stage() -> None:
    made: list[int] = []
    gate = Gate()

    def same(items: Generator[int, None, None]) -> Generator[int, None, None]:
        yield from items

    with (
        closing(ahead(counted(9, made, []), 2, gate=gate)) as first,
        closing(ahead(same(first), 2)) as second,
    ):
        assert next(second) == 0
        gate.shut()
        assert list(second) == []
    assert made == [0]
    assert threads() == 0


def test_work_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurecache.extraction.ahead.PATIENCE", 0.05)
    woken = threading.Event()

    def hanging() -> Generator[int, None, None]:
        yield 1
        woken.wait()

    items = ahead(hanging(), 1)
    assert next(items) == 1
    items.close()
    assert threads() == 1
    woken.set()
    for thread in threading.enumerate():
        if thread.name == "featurecache-ahead":
            thread.join()


def test_a_clock_adds_up_what_each_stage_took() -> None:
    clock = Clock()
    for stage in ("decode", "write", "decode"):
        with clock.of(stage):
            time.sleep(0.01)
    with pytest.raises(KeyError), clock.of("write"):
        raise KeyError
    assert set(clock.seconds) == {"decode", "write"}
    assert clock.seconds["decode"] >= 0.02
    assert clock.seconds["write"] >= 0.01
