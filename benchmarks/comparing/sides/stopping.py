"""Ending L-BFGS in time: scikit-learn bounds its iterations, not its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

import scipy.optimize


@contextmanager
def ended_at(deadline: float, report: Callable[[str], None]) -> Iterator[None]:
    """Inside the block scipy's minimiser returns the point it has reached when the time is up.

    deadline: by time.perf_counter. report: is told every iteration. What is returned then counts as not converged,
    as when the iterations were used up.
    """
    original = scipy.optimize.minimize

    def minimize(
        fun: Any, x0: Any, args: Any = (), *, method: Any, jac: Any, options: Any, callback: Any = None
    ) -> Any:
        done = count(1)

        def each(xk: Any) -> None:
            report(f"L-BFGS after iteration {next(done)}")
            if callback is not None:
                callback(xk)
            if time.perf_counter() > deadline:
                raise StopIteration

        return original(fun, x0, args=args, method=method, jac=jac, options=options, callback=each)

    report("the first iteration of L-BFGS")
    with patch.object(scipy.optimize, "minimize", minimize):
        yield
