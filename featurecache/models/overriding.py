"""A model's preprocessing, overridden by its user: `size=256`, or `file:path.py:function`."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from featurecache.datasets.images import Transform
from featurecache.datasets.transforms import INTERPOLATIONS
from featurecache.models.model import Model
from featurecache.models.trial import tried_model, tried_transform
from featurecache.python_function import failure, file_of, function_of
from featurecache.quoting import shown

FILE = "file:"


class Described(Protocol):
    """A transform that says what it does."""

    def __call__(self, image: Image.Image) -> Tensor: ...

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal transform."""
        ...


@runtime_checkable
class Changeable(Protocol):
    """A transform that can be asked for other values."""

    def changed(
        self,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> Described:
        """The transform with other values; None: as it is. Raises ValueError naming what cannot be changed."""
        ...


@runtime_checkable
class Missing(Protocol):
    """A transform that a model came without: it refuses when it is used."""

    missing: str


def overridden(model: Model, texts: Sequence[str]) -> Model:
    """The model with another transform, whose text says so; the same model where nothing is asked for.

    model: as open_model gives it.
    texts: KEY=VALUE with the keys size (pixels), crop (part of the resized shorter side), interpolation, mean and std
        (one number, or one a channel with commas between); or one file:path.py:function, which is called with the
        model's own transform where it needs an argument.
    Raises ValueError, in one line, when a text is neither, the transform cannot be changed like this, or the model does
    not read what comes out; and where the model came without a transform and none is given.
    """
    if not texts:
        if isinstance(model.transform, Missing):
            raise ValueError(model.transform.missing)
        return model
    if any(text.startswith(FILE) for text in texts):
        if len(texts) > 1:
            raise ValueError(
                f"--transform {shown(texts[0])} and {len(texts) - 1} more: a file:path.py:function stands alone"
            )
        transform, text = _from_file(texts[0].removeprefix(FILE), model.transform)
        return replace(model, transform=transform, transform_text=text)
    values = _values(texts)
    own: object = model.transform
    if not isinstance(own, Changeable):
        raise ValueError(
            f"the transform of {shown(model.source)} cannot be changed with {shown(texts[0])}: "
            "give another one as --transform file:path.py:function"
        )
    transform = own.changed(**values)
    if "size" in values:
        _check_size(model, transform)
    return replace(model, transform=transform, transform_text=transform.describe())


def _check_size(model: Model, transform: Transform) -> None:
    image = tried_transform(transform, "the changed transform")
    try:
        tried_model(model.module, image, f"model {shown(model.source)}")
    except ValueError as error:
        raise ValueError(f"{error}; --image-size builds a model for another size, where that can be done") from error


def _from_file(name: str, own: Transform) -> tuple[Transform, str]:
    path, _ = file_of(name, "transform")
    make = function_of(name, "transform")
    try:
        needed = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
        transform = make(own) if needed else make()
    except Exception as error:  # the user's own code
        raise ValueError(
            f"transform file:{name} failed: {failure(error)}; expected a function that returns the transform (image -> "
            "tensor), given the model's own where it takes an argument"
        ) from error
    if not callable(transform):
        raise ValueError(f"transform file:{name} returned {type(transform).__name__}, expected a function of an image")
    return transform, text_of(transform, path.name, path.read_bytes())


def text_of(transform: Transform, file: str, content: bytes) -> str:
    """What a transform of the user's own calls itself on one line, tied to the bytes of the file that made it.

    transform: with a method describe(), or not.
    file, content: the file's name and bytes.
    """
    describe = getattr(transform, "describe", None)
    text = describe() if callable(describe) else repr(transform)
    if " at 0x" in text:  # an address is another in every run
        text = getattr(transform, "__qualname__", type(transform).__qualname__)
    return f"{' '.join(str(text).split())} from {file} {hashlib.sha256(content).hexdigest()[:16]}"


def _values(texts: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in READERS:
            raise ValueError(
                f"--transform {shown(text)}: expected KEY=VALUE with the key {', '.join(READERS)}, "
                "or file:path.py:function"
            )
        if key in values:
            raise ValueError(f"--transform {key} is given twice; expected every key once")
        try:
            values[key] = READERS[key](value)
        except ValueError:
            raise ValueError(f"--transform {shown(text)}: expected {key}={EXPECTED[key]}") from None
    return values


def _interpolation(text: str) -> str:
    if text not in INTERPOLATIONS:
        raise ValueError
    return text


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


READERS: dict[str, Callable[[str], Any]] = {
    "size": int,
    "crop": float,
    "interpolation": _interpolation,
    "mean": _numbers,
    "std": _numbers,
}
EXPECTED = {
    "size": "PIXELS, such as size=256",
    "crop": "PART, such as crop=0.95",
    "interpolation": " or ".join(INTERPOLATIONS),
    "mean": "one number, or one a channel, such as mean=0.485,0.456,0.406",
    "std": "one number, or one a channel, such as std=0.229,0.224,0.225",
}
