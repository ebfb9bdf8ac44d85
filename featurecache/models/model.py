"""A model ready to extract with, and local weights put into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from featurecache.datasets.images import Transform
from featurecache.quoting import shown


@dataclass
class Model:
    """A trained model and what is known about it.

    module: in eval mode.
    transform: PIL image -> float32 (C, H, W), as the model was trained to read.
    transform_text: the transform as one line; equal text, equal transform.
    class_names: K names, or None where they are not known.
    source: as the user named it.
    trained_on: ids_digest of the rows it was trained on, or None where that is not known.
    """

    module: nn.Module
    transform: Transform
    transform_text: str
    class_names: tuple[str, ...] | None
    source: str
    trained_on: str | None = None


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, source: str, checkpoint: str) -> None:
    """Puts all tensors of a state dict into a module.

    module: changed in place; half-filled when this raises.
    state: exactly the module's names and shapes.
    source, checkpoint: what messages call the model and the file.
    Raises ValueError, in one line, when a name is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    faults = []
    if not shapes:
        # PyTorch's own rules decide what may be absent, such as the step counters of old batch normalisations.
        missing, unexpected = module.load_state_dict(state, strict=False)
    else:
        missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
    if missing:
        faults.append(f"{len(missing)} missing (first {shown(missing[0])})")
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected (first {shown(unexpected[0])})")
    if shapes:
        first = shapes[0]
        found, expected = tuple(state[first].shape), tuple(own[first].shape)
        faults.append(f"{len(shapes)} of another shape (first {shown(first)} {found}, expected {expected})")
    if faults:
        raise ValueError(f"checkpoint {checkpoint} of another architecture than {source}: {', '.join(faults)}")
