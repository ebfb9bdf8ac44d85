"""How the backbone of a set was trained, in words: from the options of its commands, defaults included."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import Any

from .sets import StudySet

OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}
ADAMW = "The paper trains with SGD; AdamW decays the weights apart from the gradient, which may matter for the norms."


def training(made: StudySet) -> str:
    """The training of the backbone and of the arms that go on from it; "" where nothing is trained.

    made: the set.
    """
    if not made.training:
        return ""
    arch = dict(pairwise(made.training)).get("--arch", "convnet")
    own = _asked(made.training)
    said = f"Backbone: {_network(arch)}, {_recipe(own)}."
    if own.optimizer == "adamw":
        said += f" {ADAMW}"
    if made.tuning:
        said += f" The three arms: {_recipe(_asked(made.tuning))}."
    return said


def _asked(words: tuple[str, ...]) -> Any:
    """The recipe that the command reads from these options, defaults included."""
    from rebalance_cli.train import train
    from rebalance_cli.training.options import RecipeOptions

    with train.make_context("train", [*words], resilient_parsing=True) as context:
        return RecipeOptions(**{field.name: context.params[field.name] for field in fields(RecipeOptions)})


def _recipe(asked: Any) -> str:
    return (
        f"{counted(asked.epochs, 'epoch')} of {OPTIMISERS[asked.optimizer]} in batches of {asked.batch_size}, learning "
        f"rate {asked.rate:g} falling along a cosine, weight decay {asked.decay:g}"
    )


def _network(arch: str) -> str:
    """file:PATH:features_64 is the study's own network."""
    if not arch.startswith("file:"):
        return f"`{arch}`"
    features = arch.rpartition("_")[2]
    return (
        f"the residual network of `benchmarks/studying/network.py`, which the classifier reads {features} features of"
    )


def counted(number: int, word: str) -> str:
    """A number and its word: 1 epoch, 3 epochs."""
    return f"{number} {word}{'s' * (number != 1)}"
