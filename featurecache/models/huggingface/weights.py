"""Weights put into a model of transformers: its own, or a checkpoint's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.checkpoint import load_state
from featurecache.datasets.images import Transform
from featurecache.models.class_count import number_in
from featurecache.models.huggingface.kind import Kind, classifier_kind
from featurecache.models.huggingface.origin import Origin
from featurecache.models.model import Loaded, load_weights
from featurecache.models.naming import fitted
from featurecache.quoting import shown


def own_weights(kind: Kind, origin: Origin, config: Any) -> tuple[nn.Module, Loaded]:
    """The module with the weights beside its config, in float32.

    kind: of the model.
    origin: where the weights are. Those of a folder are read as every checkpoint is, and nothing outside of it.
    config: of the model.
    Raises ValueError when they cannot be had; what transformers would then make up at random is refused.
    """
    try:
        # transformers itself follows an index and a link wherever they lead.
        state = load_state(Path(origin.name)) if origin.local else None
    except OSError as error:
        raise origin.refusal(error) from error
    try:
        if state is None:
            module, loading = kind.auto.from_pretrained(
                origin.name, config=config, dtype=torch.float32, output_loading_info=True, **origin.options()
            )
        else:
            module, loading = _skeleton(kind, config).from_pretrained(
                None, config=config, state_dict=dict(state), dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # the network's, the hub's and transformers' own, of a dozen types
        raise origin.refusal(error) from error
    missing = sorted(loading["missing_keys"])
    notes = kind.notes
    if missing and not kind.has_head and all(key.startswith("pooler.") for key in missing):
        module.pooler = None
        notes += (f"{origin} has no weights for its pooler, which is left out",)
    elif missing:
        raise ValueError(
            f"{origin} lacks {len(missing)} of the model's tensors (first {shown(missing[0])}); "
            "pass --checkpoint with all of its weights"
        )
    return module, Loaded(kind.has_head, notes)


def with_weights(
    transformers: ModuleType,
    kind: Kind,
    config: Any,
    state: Mapping[str, Tensor],
    *,
    origin: Origin,
    checkpoint: str,
    transform: Transform | None,
) -> tuple[nn.Module, Loaded]:
    """The module with a checkpoint's weights, in float32: a classifier where they have one, of their K.

    transformers: as import_transformers gives it.
    kind, config: of the model.
    state: of the checkpoint.
    origin, checkpoint: what messages call the model and the file.
    transform: of images for the model, where it has one.
    Raises ValueError when the weights do not fit.
    """
    classes = None
    classifying = classifier_kind(transformers, config)
    if classifying is not None:
        named = in_todays_names(classifying, config, state, checkpoint=checkpoint)
        classes = number_in(named, partial(_built, classifying, config), checkpoint=checkpoint)
        kind = kind if classes is None else classifying
    state = in_todays_names(kind, config, state, checkpoint=checkpoint)
    module = _built(kind, config, classes)
    learned = any(name.startswith("pooler.") for name in module.state_dict())  # an average has no weights to miss
    if learned and not kind.has_head and not any("pooler." in name for name in state):
        module.register_module("pooler", None)
    loaded = load_weights(module, state, source=str(origin), checkpoint=checkpoint, transform=transform)
    return module, Loaded(kind.has_head and loaded.has_head, (*kind.notes, *loaded.notes))


def in_todays_names(kind: Kind, config: Any, state: Mapping[str, Tensor], *, checkpoint: str) -> Mapping[str, Tensor]:
    """The state dict with the names that the module has in memory, which are others than those in saved files.

    kind, config: of the model.
    state: with the names of either, of any version of transformers; where they are neither, it comes back as it is.
    checkpoint: what messages call the file.
    """
    skeleton = _skeleton(kind, config)
    own = skeleton.state_dict()
    base = f"{skeleton.base_model_prefix}."
    wrappers = {name[: name.find(base)] for name in state if base in name}
    wrapper = wrappers.pop() if len(wrappers) == 1 else ""
    bare = {name.removeprefix(wrapper): value for name, value in state.items()}
    try:
        module, loading = skeleton.from_pretrained(
            None,
            config=copy.deepcopy(config),
            state_dict=dict(bare),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception:  # tensors it was not made for: they are another architecture's, which load_weights says better
        return state
    made_up = {*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])}
    found = {name: value for name, value in module.state_dict().items() if name not in made_up}
    left = (*loading["unexpected_keys"], *made_up)
    if len(found) <= sum(name in own for name in fitted(state, own, checkpoint=checkpoint).state):
        return state
    return found | {name: bare[name] for name in left if name in bare}


def _skeleton(kind: Kind, config: Any) -> Any:
    """The model without values; its from_pretrained, that of its class, takes a state dict."""
    with torch.device("meta"):
        return _built(kind, config, None)


def _built(kind: Kind, config: Any, classes: int | None) -> nn.Module:
    own = copy.deepcopy(config)
    if classes is not None:
        own.num_labels = classes
    module: nn.Module = kind.auto.from_config(own, dtype=torch.float32)
    return module
