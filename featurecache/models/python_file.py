"""Models of the user's own: `file:path.py:function`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from featurecache.checkpoint import load_state
from featurecache.datasets.images import Transform
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.model import Model, load_weights
from featurecache.quoting import shown

DEFAULT_SIZE = 224


def open_file(
    name: str, *, checkpoint: Path | None = None, num_classes: int | None = None, image_size: int | None = None
) -> Model:
    """What a function in a Python file returns: a module, or a module and its transform.

    Without a transform of its own the module gets RGB images, resized and centre-cropped, scaled to [0, 1].

    name: path.py:function; the function takes nothing, or num_classes.
    checkpoint: weights for the module; None: as the function returns it.
    num_classes: K, handed to a function that takes it.
    image_size: pixels of the square that is read (None: 224); refused where the function returns a transform.
    Raises ValueError when the file, the function or what it returns is not as above, or the checkpoint does not fit.
    """
    module, transform = _call(name, num_classes)
    if checkpoint is not None:
        load_weights(module, load_state(checkpoint), source=f"file:{name}", checkpoint=shown(checkpoint))
    if transform is None:
        plain = ImageTransform(size=image_size or DEFAULT_SIZE)
        return Model(module.eval(), plain, plain.describe(), None, f"file:{name}")
    if image_size is not None:
        raise ValueError(f"file:{name} returns a transform of its own; leave --image-size out")
    return Model(module.eval(), transform, _text(transform, name), None, f"file:{name}")


def new_from_file(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The module that a function in a Python file returns, for training from scratch.

    name: path.py:function; the function takes nothing, or num_classes.
    num_classes: K, handed to a function that takes it.
    channels, image_size: not used; the function knows what its module reads.
    Raises ValueError when the file, the function or what it returns is not as above.
    """
    return _call(name, num_classes)[0]


def _call(name: str, num_classes: int | None) -> tuple[nn.Module, Transform | None]:
    path, function = _split(name)
    build = _function(path, function)
    try:
        takes = inspect.signature(build).parameters
        if "num_classes" in takes and num_classes is None and takes["num_classes"].default is inspect.Parameter.empty:
            raise ValueError("it needs num_classes, which are not known here")
        given = "num_classes" in takes and num_classes is not None
        made = build(num_classes=num_classes) if given else build()
    except Exception as error:  # the user's own code
        raise ValueError(f"file:{name} failed: {_line(error)}") from error
    module, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module) or not (transform is None or callable(transform)):
        raise ValueError(f"file:{name} returned {type(made).__name__}, expected an nn.Module, or one and its transform")
    return module, transform


def _split(name: str) -> tuple[Path, str]:
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py") or not function.isidentifier():
        raise ValueError(f"model {shown('file:' + name)}: expected file:path.py:function")
    return Path(path), function


def _function(path: Path, function: str) -> Callable[..., Any]:
    if not path.is_file():
        raise ValueError(f"model file {shown(path)} does not exist; expected file:path.py:function")
    # The name in sys.modules is one that nothing else can have, even where the file is called random.py.
    unique = f"featurecache_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"model file {shown(path)} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        del sys.modules[unique]
        raise ValueError(f"model file {shown(path)} cannot be imported: {_line(error)}") from error
    found: object = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"model file {shown(path)} has no function {function!r:.120}")
    return found


def _text(transform: Transform, name: str) -> str:
    """What the transform calls itself, tied to the bytes of the file that made it."""
    path, _ = _split(name)
    describe = getattr(transform, "describe", None)
    text = describe() if callable(describe) else repr(transform)
    if " at 0x" in text:  # an address is another in every run
        text = getattr(transform, "__qualname__", type(transform).__qualname__)
    return f"{' '.join(str(text).split())} from {path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
