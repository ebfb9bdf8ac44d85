"""Models of the user's own: `file:path.py:function`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from featurecache.checkpoint import load_state
from featurecache.datasets.images import Transform
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.model import Model, load_weights
from featurecache.models.overriding import text_of
from featurecache.python_function import failure, file_of, function_of
from featurecache.quoting import shown

DEFAULT_SIZE = 224


def open_file(
    name: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """What a function in a Python file returns: a module, or a module and its transform.

    Without a transform of its own the module gets RGB images, resized and centre-cropped, scaled to [0, 1].

    name: path.py:function; the function takes nothing, or num_classes.
    checkpoint: weights for the module; None: as the function returns it.
    num_classes: K, handed to a function that takes it.
    image_size: pixels of the square that is read (None: 224); refused where the function returns a transform.
    ema: take the averaged weights of the checkpoint.
    Raises ValueError when the file, the function or what it returns is not as above, or the checkpoint does not fit.
    """
    module, transform = _call(name, num_classes)
    if transform is None:
        transform = ImageTransform(size=image_size or DEFAULT_SIZE)
        text = transform.describe()
    elif image_size is not None:
        raise ValueError(f"file:{name} returns a transform of its own; leave --image-size out")
    else:
        path, _ = file_of(name, "model")
        text = text_of(transform, path.name, path.read_bytes())
        transform = transform if hasattr(transform, "image_transform") else InColour(transform)
    model = Model(module.eval(), transform, text, None, f"file:{name}")
    if checkpoint is None:
        return model
    state = load_state(checkpoint, ema=ema)
    loaded = load_weights(module, state, source=f"file:{name}", checkpoint=shown(checkpoint), transform=transform)
    return replace(model, has_head=loaded.has_head, notes=loaded.notes)


@dataclass(frozen=True)
class InColour:
    """Called with a PIL image of any mode: what the user's transform makes of it in RGB, as image folders give it.

    transform: PIL image -> float32 (C, H, W); what is no image it gets as it is.
    """

    transform: Transform

    def __call__(self, image: Image.Image) -> Tensor:
        grey = isinstance(image, Image.Image) and image.mode != "RGB"
        return self.transform(image.convert("RGB") if grey else image)


def new_from_file(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The module that a function in a Python file returns, for training from scratch.

    name: path.py:function; the function takes nothing, or num_classes.
    num_classes: K, handed to a function that takes it.
    channels, image_size: not used; the function knows what its module reads.
    Raises ValueError when the file, the function or what it returns is not as above.
    """
    return _call(name, num_classes)[0]


def _call(name: str, num_classes: int | None) -> tuple[nn.Module, Transform | None]:
    build = function_of(name, "model")
    try:
        takes = inspect.signature(build).parameters
        if "num_classes" in takes and num_classes is None and takes["num_classes"].default is inspect.Parameter.empty:
            raise ValueError("it needs num_classes, which are not known here")
        given = "num_classes" in takes and num_classes is not None
        made = build(num_classes=num_classes) if given else build()
    except Exception as error:  # the user's own code
        raise ValueError(f"file:{name} failed: {failure(error)}") from error
    module, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module) or not (transform is None or callable(transform)):
        raise ValueError(f"file:{name} returned {type(made).__name__}, expected an nn.Module, or one and its transform")
    return module, transform
