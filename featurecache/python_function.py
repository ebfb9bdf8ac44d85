"""A function in a Python file of the user's own: `path.py:function`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from featurecache.disk import open_regular
from featurecache.quoting import shown


def function_of(name: str, what: str) -> Callable[..., Any]:
    """The function, after the file was run; a file that did not change is run once a process.

    name: path.py:function.
    what: what messages call the thing that the function makes, such as model or data.
    Raises ValueError, in one line, when there is no such file or function, or the file fails.
    """
    path, function = file_of(name, what)
    found: object = getattr(_module(path, what), function, None)
    if not callable(found):
        raise ValueError(f"{what} file {shown(path)} has no function {shown(function)}")
    return found


def file_of(name: str, what: str) -> tuple[Path, str]:
    """The file and the name of the function; neither is looked for.

    name, what: as above.
    Raises ValueError when the name is not path.py:function.
    """
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{what} {shown('file:' + name)}: expected file:path.py:function")
    return Path(path), function


def failure(error: Exception) -> str:
    """What a stranger's error says, on one short line with its type."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _module(path: Path, what: str) -> ModuleType:
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        raise ValueError(f"{what} file {shown(path)} does not exist; expected file:path.py:function") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{what} file {shown(path)} cannot be read: {reason}") from None
    # A name that nothing else can have, even where the file is called random.py. With the content in it, a file that
    # serves for the model and for the data is run once, so that pickle finds the classes of both in one module.
    key = str(path.resolve()).encode("utf-8", "surrogateescape") + b"\0" + content
    unique = f"featurecache_file_{hashlib.sha256(key).hexdigest()[:16]}"
    if unique in sys.modules:
        return sys.modules[unique]
    module = ModuleType(unique)
    module.__file__ = str(path)
    sys.modules[unique] = module  # dataclasses and pickle look their module up here
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:  # the user's own code
        del sys.modules[unique]
        hint = "; put the folders it imports from on PYTHONPATH" if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(f"{what} file {shown(path)} cannot be imported: {failure(error)}{hint}") from error
    return module
