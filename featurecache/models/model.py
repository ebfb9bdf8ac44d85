"""A model ready to extract with, and local weights put into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from featurecache.datasets.images import Transform
from featurecache.models.headless import absent_classifier, placeless_classifier, take_out
from featurecache.models.naming import fitted
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
    has_head: False for a backbone, or where the checkpoint has no classifier: what the module returns is the features.
    notes: what a person should know about how it was opened, one line each.
    """

    module: nn.Module
    transform: Transform
    transform_text: str
    class_names: tuple[str, ...] | None
    source: str
    trained_on: str | None = None
    has_head: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """How weights fitted a module.

    has_head: False where they are without a classifier, or the module is.
    notes: what was left out or renamed, one line each.
    """

    has_head: bool
    notes: tuple[str, ...]


def load_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    checkpoint: str,
    transform: Transform | None = None,
    classifier: Sequence[str] = (),
) -> Loaded:
    """Puts the tensors of a state dict into a module.

    All must be there and none left over, but for a classifier. Where the checkpoint has none, an nn.Identity takes its
    place in the module. Where the module has none, the checkpoint's is left out.

    module: changed in place; half-filled when this raises. On the meta device it takes the tensors as they are.
    state: the module's names and shapes; names that the training program put before them are taken off.
    source, checkpoint: what messages call the model and the file.
    transform: of images for the module, to prove on one which layer its classifier is.
    classifier: the names of the classifier's layers, where the source knows them.
    Raises ValueError, in one line, when a name is missing, unexpected or of another shape.
    """
    fit = fitted(state, module.state_dict(), checkpoint=checkpoint)
    missing, unexpected, faults = _put(module, fit.state)
    layers: tuple[str, ...] = ()
    said = ""
    if missing and not unexpected and not faults:
        layers = absent_classifier(module, missing, declared=classifier, transform=transform)
        take_out(module, layers)
        said = "has no classifier"
    elif (unexpected or fit.beside) and not missing and not faults:
        extra = {**fit.beside, **{name: fit.state[name] for name in unexpected}}
        layers = placeless_classifier(module, extra, declared=classifier, transform=transform)
        said = f"has a classifier, {source} none"
    if layers:
        note = f"checkpoint {checkpoint} {said} ({', '.join(map(shown, layers))}): features only"
        return Loaded(False, (*fit.notes, note))
    if missing:
        faults.insert(0, f"{len(missing)} missing (first {shown(missing[0])})")
    if unexpected:
        faults.insert(bool(missing), f"{len(unexpected)} unexpected (first {shown(unexpected[0])})")
    if faults:
        raise ValueError(f"checkpoint {checkpoint} of another architecture than {source}: {', '.join(faults)}")
    return Loaded(True, fit.notes)


def _put(module: nn.Module, state: OrderedDict[str, Tensor]) -> tuple[list[str], list[str], list[str]]:
    """Loads what fits: the names that are missing, those that are unexpected, and in words those of other shapes."""
    own = module.state_dict()
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not shapes:
        # PyTorch's own rules decide what may be absent, such as the step counters of old batch normalisations.
        assigned = any(value.is_meta for value in own.values())
        # Files without versions are taken for those of today: torchvision's MNASNet refuses to guess.
        vars(state)["_metadata"].setdefault("", getattr(own, "_metadata", {}).get("", {}))
        try:
            missing, unexpected = module.load_state_dict(state, strict=False, assign=assigned)
        except Exception as error:  # some modules look at their part of the state dict themselves
            return [], [], [" ".join(f"{type(error).__name__}: {error}".split())[:300]]
        return missing, unexpected, []
    missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
    first = shapes[0]
    found, expected = tuple(state[first].shape), tuple(own[first].shape)
    return missing, unexpected, [f"{len(shapes)} of another shape (first {shown(first)} {found}, expected {expected})"]
