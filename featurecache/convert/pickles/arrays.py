"""NumPy arrays as pickles describe them, made from their bytes and never from a stranger's state.

Real NumPy objects that take over such a state are not safe: an object dtype with a false flag turns bytes into
pointers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurecache.convert.blocks import check_text
from featurecache.quoting import shown

MAX_DIMENSIONS = 32
_TYPE = re.compile(r"[<>|=]?[fiubSUO][0-9]{1,5}")

# What a pickle may name -> what is meant by it. NumPy 1 and 2 keep the same functions in different places.
KNOWN = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",  # bytes in protocol 2
    "__builtin__.bytes": "bytes",  # empty ones
    **{f"numpy.{core}.multiarray._reconstruct": "array" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "buffer" for core in ("core", "_core")},
}


@dataclass(frozen=True)
class Name:
    """Something that a pickle names."""

    name: str


@dataclass
class Type:
    """A dtype. text: such as f4. order: of its bytes, < or > (| where there is none)."""

    text: str
    order: str = "<"

    def dtype(self) -> np.dtype[Any]:
        """It; ValueError unless it is of numbers, text or objects."""
        if not _TYPE.fullmatch(self.text):
            raise ValueError(f"has values of type {shown(self.text)}; expected numbers or text")
        return np.dtype(self.text).newbyteorder(">" if self.order == ">" else "<")


@dataclass
class Unfinished:
    """An array that has not been told its values yet. memo: under which number the pickle knows it."""

    memo: int | None = None


def called(function: Name, given: tuple[Any, ...]) -> Any:
    """What calling a name would give, in our own terms; TypeError or ValueError when it would be called wrongly."""
    match function.name, given:
        case "array", (Name("ndarray"), (0,), _):
            return Unfinished()
        case "dtype", (text, *_):
            return Type(_text(text))
        case "scalar", (Type() as kind, bytes(data)):
            return _array((1,), kind, False, data)[0].item()
        case "buffer", (data, Type() as kind, tuple(shape), "C" | "F" as order, *axes) if axes in ([], [None]):
            return _array(shape, kind, order == "F", data)
        case "bytes", ():
            return b""
        case "encode", (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
    raise TypeError(function.name)


def told(thing: Any, state: tuple[Any, ...]) -> Any:
    """The thing after it has been told its state; TypeError or ValueError when it has no such state."""
    match thing, state:
        case Type(), (3 | 4, order, None, None, None, *_):
            thing.order = _text(order)
            return thing
        case Unfinished(), (1, tuple(shape), Type() as kind, fortran, data):
            return _array(shape, kind, bool(fortran), data)
    raise TypeError(type(thing).__name__)


def _array(shape: tuple[Any, ...], kind: Type, fortran: bool, data: Any) -> Any:
    """The array of these bytes; a list of str where they are a list of such."""
    if len(shape) > MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("has an array whose shape is none")
    dtype = kind.dtype()
    if dtype.hasobject:
        if type(data) is list and shape == (len(data),) and {type(each) for each in data} == {str}:
            return list(data)
        raise ValueError("has an array of Python objects other than texts; save numbers, or text: .astype(str)")
    wanted = math.prod(shape) * dtype.itemsize
    if not isinstance(data, bytes | memoryview) or len(data) != wanted:
        raise ValueError(f"has an array of shape {str(shape)[:200]} whose bytes do not fit it")
    if not wanted:
        return np.zeros(0)
    values = np.frombuffer(data, dtype)
    check_text(values)
    return values.reshape(shape, order="F" if fortran else "C")


def _text(value: Any) -> str:
    if isinstance(value, bytes):  # of a pickle that Python 2 made
        return value.decode("latin-1")
    if type(value) is not str:
        raise TypeError("no text")
    return value
