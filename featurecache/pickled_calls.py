"""What a PyTorch file asks for, followed without doing any of it, before PyTorch reads it.

torch.load(weights_only=True) runs nothing of a stranger's, but some of what it does run makes gigabytes out of a few
bytes: bytearray(n), tensors of any size without a stored value, codecs that double their input again and again, tuples
of tuples, whose hash is computed once for every path through them. No honest file asks for these.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from featurecache.quoting import shown

LATIN = ("latin1", "latin-1")  # how pickles of protocol 2 hold bytes
MAX_KEY, MAX_TUPLE = 1000, 100_000  # values in a key of a dictionary, in any tuple
PICKLES = 5  # at the start of a file that is no archive: magic, version, system, the object, its storages
REBUILD = re.compile(r"torch\._utils _rebuild_\w+")
ENCODE, TENSOR, SUBCLASS = "_codecs encode", "torch Tensor", "torch._tensor _rebuild_from_type_v2"

_PUSH = {"NONE", "NEWTRUE", "NEWFALSE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LONG1", "SHORT_BINSTRING"}
_PUSH |= {"BININT", "BININT1", "BININT2", "BINFLOAT"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def check_calls(stream: BinaryIO) -> None:
    """ValueError, in one line, when a PyTorch file asks for what no honest one does; the stream is at its start then.

    stream: an archive, or a file of the older kind, at its start. Pickles that are damaged are refused too.
    """
    try:
        for pickle in _pickles(stream):
            _follow(pickle)
    except _Asked as asked:
        raise ValueError(str(asked)) from None
    except Exception as error:  # of a damaged file: anything
        raise ValueError(f"no PyTorch file, or a damaged one ({type(error).__name__})") from None
    finally:
        stream.seek(0)


class _Asked(Exception):
    """What is refused, by name."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"its pickle asks for {what}, which no checkpoint needs; expected tensors and plain containers"
        )


@dataclass(frozen=True)
class _Value:
    """Something on the stack. name: of a global, or a text's letters. items: of a tuple. size: values in it, in all."""

    kind: str = "other"
    name: str = ""
    items: tuple[_Value, ...] = ()
    size: int = 1


_OTHER = _Value()


@dataclass
class _Machine:
    """The stack as it would be."""

    stack: list[_Value] = field(default_factory=list)
    below: list[list[_Value]] = field(default_factory=list)
    memo: dict[int, _Value] = field(default_factory=dict)

    def pop(self, count: int) -> list[_Value]:
        """The last values; an error when there are fewer."""
        first = len(self.stack) - count
        if first < 0:
            raise IndexError("stack")
        values = self.stack[first:]
        del self.stack[first:]
        return values

    def marked(self) -> list[_Value]:
        """The values since the last mark."""
        values, self.stack = self.stack, self.below.pop()
        return values


def _pickles(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Streams at the start of each pickle in the file."""
    if stream.read(4) == b"PK\3\4":
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as pickle:
                        yield pickle  # type: ignore[misc]  # what reads is enough
        return
    stream.seek(0)
    for _ in range(PICKLES):
        place = stream.tell()
        if not stream.read(1):
            return  # too short for a PyTorch file, as PyTorch will say
        stream.seek(place)
        yield stream


def _follow(pickle: BinaryIO) -> None:
    """Refuses by name what the pickle should not ask for; stops where PyTorch stops."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickle):
        if not _step(machine, opcode.name, argument):
            return


def _step(machine: _Machine, code: str, argument: Any) -> bool:
    """One instruction; False for the last one, and for one that PyTorch does not know."""
    stack = machine.stack
    if code in _PUSH:
        stack.append(_OTHER)
    elif code == "BINUNICODE":
        stack.append(_Value("text", argument))
    elif code == "GLOBAL":
        stack.append(_named(argument))
    elif code in _TUPLES or code == "TUPLE":
        items = machine.marked() if code == "TUPLE" else machine.pop(_TUPLES[code])
        machine.stack.append(_tuple(items))
    elif code == "MARK":
        machine.below.append(stack)
        machine.stack = []
    elif code in ("SETITEM", "SETITEMS"):
        _check_keys((machine.pop(2) if code == "SETITEM" else machine.marked())[::2])
    elif code in ("APPEND", "APPENDS", "BUILD"):
        machine.marked() if code == "APPENDS" else machine.pop(1)
    elif code in ("REDUCE", "NEWOBJ"):
        _check_call(*machine.pop(2))
        machine.stack.append(_OTHER)
    elif code == "BINPERSID":
        stack[-1] = _OTHER
    elif code in ("BINPUT", "LONG_BINPUT"):
        machine.memo[argument] = stack[-1]
    elif code in ("BINGET", "LONG_BINGET"):
        stack.append(machine.memo[argument])
    else:
        return code == "PROTO"
    return True


def _named(argument: str) -> _Value:
    """A global; refused is what makes memory out of a number, in any module."""
    last = argument.rpartition(" ")[2]
    if last == "bytearray" or (last.endswith("Tensor") and argument != TENSOR):
        raise _Asked(shown(argument.replace(" ", ".")))
    return _Value("global", argument)


def _tuple(items: Sequence[_Value]) -> _Value:
    size = 1 + sum(item.size for item in items)
    if size > MAX_TUPLE:
        raise _Asked(f"a tuple of more than {MAX_TUPLE} values")
    return _Value("tuple", "", tuple(items), size)


def _check_keys(keys: Collection[_Value]) -> None:
    if any(key.size > MAX_KEY for key in keys):
        raise _Asked(f"a key of more than {MAX_KEY} values")


def _check_call(function: _Value, given: _Value) -> None:
    items = given.items
    if function.name == ENCODE:
        if len(items) != 2 or items[0].kind != "text" or items[1].name not in LATIN:
            raise _Asked("_codecs.encode with another codec than latin1")
    elif function.name == TENSOR and (items or given.kind != "tuple"):
        raise _Asked("a tensor without stored values (torch.Tensor)")
    elif function.name == SUBCLASS and not (items and REBUILD.fullmatch(items[0].name)):
        raise _Asked("a tensor made by something else than PyTorch (torch._tensor._rebuild_from_type_v2)")
