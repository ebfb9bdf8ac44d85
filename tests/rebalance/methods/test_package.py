"""The registry: names, what each method is fitted on, and how one is found."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from rebalance import methods
from rebalance.methods import DATA, METHODS, find_method, hyperparameters, takes_counts

every_method = pytest.mark.parametrize("name", METHODS)


def test_the_five_methods_of_the_paper_are_there() -> None:
    paper = {"joint": None, "ncm": "train", "crt": "train", "tau_norm": None, "lws": "train"}
    assert {name: METHODS[name].on for name in paper} == paper


@every_method
def test_a_line_is_found_by_name_and_by_function(name: str) -> None:
    line = METHODS[name]
    assert find_method(name) == find_method(line.function) == (name, line)
    assert getattr(methods, name) is line.function
    assert name in methods.__all__


@every_method
def test_grid_and_path_are_of_hyperparameters_it_has(name: str) -> None:
    line = METHODS[name]
    keywords = inspect.signature(line.function).parameters
    assert set(line.grid) <= set(keywords) - {"head", "features", "labels"}
    assert all(len(values) > 1 for values in line.grid.values())
    if line.path:
        assert line.path.parameter in keywords
        # What the path's function takes besides is fixed by one value of the grid.
        assert set(list(inspect.signature(line.path.intervals).parameters)[3:]) <= set(keywords)


@every_method
def test_every_method_names_its_source(name: str) -> None:
    assert METHODS[name].source


@every_method
def test_hyperparameters_are_the_keywords_that_are_no_data(name: str) -> None:
    function = METHODS[name].function
    keywords = list(inspect.signature(function).parameters)[3:]
    assert hyperparameters(function) == [key for key in keywords if key not in DATA]
    assert takes_counts(function) is ("counts" in keywords)


def test_counts_are_data() -> None:
    assert hyperparameters(methods.logit_adjust) == ["tau", "target_prior"]
    assert takes_counts(methods.logit_adjust)
    assert not takes_counts(methods.tau_norm)


@pytest.mark.parametrize("method", ["", "CRT", "tau", len, "\x1b[31m\n"])
def test_what_is_no_method_is_refused(method: Any, refuses: Any) -> None:
    with refuses("no method", ", ".join(METHODS)):
        find_method(method)
