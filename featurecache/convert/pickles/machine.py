"""Pickles without running anything: a machine that knows plain values and NumPy arrays, and nothing else.

Python's own unpickler calls what the pickle names. This one follows the instructions of the pickle protocols 2 to 5
itself and has no way to call anything: where a pickle names NumPy's constructors, the plain values beside the name are
checked and kept (see arrays.py). Large byte strings are not copied: they are views of the memory-mapped file.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any

from featurecache.convert.pickles.arrays import KNOWN, Name, Unfinished, called, told
from featurecache.quoting import shown

COPIED = 2**16  # bytes of a string up to which it is copied out of the file
MAX_CONTAINERS = 10**6  # one byte of a pickle makes an empty dictionary of 64
MAX_NAME, MAX_LONG = 256, 16

# Instructions with an argument of fixed size, and of a size that is written before it.
_FIXED = {
    pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d",
    pickle.BINGET: "<B", pickle.LONG_BINGET: "<I", pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I",
    pickle.PROTO: "<B", pickle.FRAME: "<Q",
}  # fmt: skip
_COUNTED = {
    pickle.SHORT_BINSTRING: "<B", pickle.BINSTRING: "<I",
    pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q", pickle.BYTEARRAY8: "<Q",
    pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q", pickle.LONG1: "<B",
}  # fmt: skip
_UNICODE = {pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8}
_CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
_EMPTY = {pickle.EMPTY_DICT: dict, pickle.EMPTY_LIST: list, pickle.EMPTY_TUPLE: tuple}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


def unpickled(data: memoryview) -> Any:
    """The value in a pickle: dict, list, tuple, str, bytes, numbers, NumPy arrays, and lists of str for arrays of them.

    data: the bytes of the file.
    ValueError when the pickle is damaged, of protocol 0 or 1, or asks for anything else.
    """
    machine = _Machine(data)
    try:
        while (code := machine.code()) != pickle.STOP:
            machine.follow(code)
        return machine.stack[-1]
    except (IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError):
        # a stack or a memo that has not what the instruction takes, or not of the right kind
        raise ValueError(f"is no pickle of protocol 2 or newer, or a damaged one (byte {machine.at})") from None


class _Machine:
    """A pickle that is being followed. data: its bytes. at: the next one. stack: the values so far."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at, self.containers = data, 0, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def code(self) -> bytes:
        """The next instruction."""
        return bytes(self.take(1))

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        self.at += size
        if self.at > len(self.data):
            raise ValueError(f"is cut short: {len(self.data)} bytes of {self.at} or more")
        return self.data[self.at - size : self.at]

    def follow(self, code: bytes) -> None:
        """Do what one instruction says."""
        if code in _COUNTED:
            self.stack.append(self._string(code))
        elif code in _FIXED:
            self._number(code, struct.unpack(_FIXED[code], self.take(struct.calcsize(_FIXED[code])))[0])
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self._contain(_EMPTY[code]())
        elif code in _TUPLES:
            self._contain(tuple(self._pop(_TUPLES[code])))
        elif code == pickle.TUPLE:
            self._contain(tuple(self._marked()))
        elif code == pickle.MARK:
            self.marks.append(len(self.stack))
        elif code == pickle.MEMOIZE:
            self._remember(len(self.memo))
        elif code in (pickle.APPEND, pickle.APPENDS):
            values = self._pop(1) if code == pickle.APPEND else self._marked()
            _expect(self.stack[-1], list).extend(values)
        elif code in (pickle.SETITEM, pickle.SETITEMS):
            values = self._pop(2) if code == pickle.SETITEM else self._marked()
            items = [(_key(values[i]), values[i + 1]) for i in range(0, len(values), 2)]
            _expect(self.stack[-1], dict).update(items)
        else:
            self._construct(code)

    def _construct(self, code: bytes) -> None:
        """The instructions that would call something."""
        if code == pickle.GLOBAL:
            module, name = self._line(), self._line()
            self.stack.append(_known(module, name))
        elif code == pickle.STACK_GLOBAL:
            module, name = self._pop(2)
            self.stack.append(_known(module, name))
        elif code == pickle.REDUCE:
            function, given = self._pop(2)
            self.stack.append(called(_expect(function, Name), _expect(given, tuple)))
        elif code == pickle.BUILD:
            thing, state = self._pop(2)
            value = told(thing, _expect(state, tuple))
            self.stack.append(value)
            if isinstance(thing, Unfinished) and thing.memo is not None:
                self.memo[thing.memo] = value
        else:
            raise ValueError(
                f"has the instruction {code!r} at byte {self.at}, which numbers, texts, arrays and dictionaries of "
                "them do not need; save them with pickle protocol 4, or as .npz"
            )

    def _number(self, code: bytes, number: Any) -> None:
        if code in (pickle.BINPUT, pickle.LONG_BINPUT):
            self._remember(number)
        elif code in (pickle.BINGET, pickle.LONG_BINGET):
            self.stack.append(self.memo[number])
        elif code not in (pickle.PROTO, pickle.FRAME):
            self.stack.append(number)

    def _string(self, code: bytes) -> Any:
        size = struct.unpack(_COUNTED[code], self.take(struct.calcsize(_COUNTED[code])))[0]
        view = self.take(size)
        if code in _UNICODE:
            return str(view, "utf-8", "surrogatepass")
        if code == pickle.LONG1:
            if size > MAX_LONG:
                raise ValueError(f"has an integer of {size} bytes; expected at most {MAX_LONG}")
            return int.from_bytes(view, "little", signed=True)
        return bytes(view) if size <= COPIED else view

    def _line(self) -> str:
        line, end, _ = bytes(self.data[self.at : self.at + MAX_NAME]).partition(b"\n")
        self.take(len(line) + 1)
        if not end:
            raise IndexError("a line without an end")
        return line.decode("latin-1")

    def _contain(self, value: Any) -> None:
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise ValueError(f"has more than {MAX_CONTAINERS} dictionaries, lists and tuples; save arrays, as .npz")
        self.stack.append(value)

    def _remember(self, number: int) -> None:
        value = self.memo[number] = self.stack[-1]
        if isinstance(value, Unfinished):
            value.memo = number

    def _pop(self, count: int) -> list[Any]:
        values = self.stack[len(self.stack) - count :]
        if len(values) != count:
            raise IndexError("an empty stack")
        del self.stack[len(self.stack) - count :]
        return values

    def _marked(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values


def _known(module: Any, name: Any) -> Name:
    """What a pickle asks for; ValueError unless it belongs to a plain NumPy array."""
    asked = f"{module}.{name}"
    if asked not in KNOWN:
        raise ValueError(
            f"asks for {shown(asked)}, and only NumPy arrays, numbers, texts and dictionaries of them are read; "
            "nothing was run: save the arrays alone, with np.savez"
        )
    return Name(KNOWN[asked])


def _key(key: Any) -> str | int | float | None:
    """A key of a dictionary; other kinds are not hashed, for that may take for ever."""
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if key is not None and type(key) not in (str, int, float, bool):
        raise TypeError("a key of another kind")
    return key  # type: ignore[no-any-return]


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__}")
    return value
