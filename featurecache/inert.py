"""What lies in a PyTorch file beside its weights: kept as it was written, and never built.

Training programs put their options (argparse.Namespace) and their figures (NumPy arrays and scalars) beside the
weights. Real NumPy objects that take over a stranger's state are not safe: a dtype with a false flag turns bytes into
pointers. So every name that such a file may ask for stands here for a class that only remembers what it was given.
Written to a file again, its objects are what they were.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch


class Inert:
    """An object that was never built. given: what it was to be made from. state: what it was told then, if anything."""

    real: ClassVar[Any]
    given: tuple[Any, ...]
    state: tuple[Any, ...]

    def __new__(cls, *given: Any) -> Inert:
        made = super().__new__(cls)
        made.given, made.state = given, ()
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = (state,)

    def __reduce__(self) -> tuple[Any, ...]:
        # The class itself lies among the arguments of an array: numpy.ndarray.
        given = tuple(each.real if isinstance(each, type) and issubclass(each, Inert) else each for each in self.given)
        return type(self).real, given, *self.state


def _standing_for(name: str, real: Any) -> type[Inert]:
    called = name.rpartition(".")[2].replace("_reconstruct", "ndarray")  # what a message calls its objects
    return type(called, (Inert,), {"real": real, "__module__": __name__, "__doc__": f"{name}, inert."})


# NumPy 1 and 2 keep the same functions in different places; what is written again names those of the one installed.
_ARRAY, _SCALAR = np.zeros(0).__reduce__()[0], np.float32(0).__reduce__()[0]
REAL: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _ARRAY for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _SCALAR for core in ("core", "_core")},
}

# As torch.serialization.safe_globals takes them: a class, and the name in a file that it answers to.
Named: TypeAlias = Callable[..., Any] | tuple[Callable[..., Any], str]
INERT: list[Named] = [(_standing_for(name, real), name) for name, real in REAL.items()]

_ALONE = threading.RLock()


@contextmanager
def building_only(named: Sequence[Named]) -> Iterator[None]:
    """Within it torch.load(weights_only=True) builds tensors, plain containers and these, whoever allowed it more.

    What the program allows PyTorch to build from its own files (torch.serialization.add_safe_globals) is no reason to
    build it from a stranger's; it is allowed again afterwards.

    named: INERT, or nothing.
    """
    with _ALONE:  # PyTorch keeps one list for all threads
        allowed = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            with torch.serialization.safe_globals(list(named)):
                yield
        finally:
            torch.serialization.add_safe_globals(allowed)
