"""The classifier of any model: find it, prove it, read its input, replace it.

Nothing here knows an architecture. Layers are the classifier when their own numbers say so: their inputs side by
side, one vector a row, satisfy features @ W.T + b == logits, and whatever is added to a layer's output arrives in the
logits, multiplied with that layer's factor and otherwise unchanged. Mostly it is one layer with the factor 1; models
with several heads add or average them. Names are those of ``model.named_modules()``: under DataParallel they keep
the prefix ``module.``, in compiled models ``_orig_mod.``.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from featurecache.classifying.capturing import Capture, capture, capture_output
from featurecache.classifying.observing import evaluating
from featurecache.classifying.search import Search
from featurecache.classifying.terms import Classifier, Term
from featurecache.layers import layers_named, matrix_layers
from featurecache.proof import logits_of, prove
from featurecache.replacement import replace_classifier

__all__ = [
    "Capture",
    "Classifier",
    "Term",
    "capture",
    "capture_output",
    "find_classifier",
    "logits_of",
    "prove",
    "replace_classifier",
]


def find_classifier(model: nn.Module, example: Any, *, layer: str | None = None) -> Classifier:
    """What provably makes the model's logits: one layer, or several whose outputs are added.

    The first forward looks at every layer with a matrix that is called once, with one vector a row, and gives as many
    numbers as there are classes. For each a further forward adds noise to its output. It is a part of the classifier
    if the logits move by a multiple of that noise, and if it feeds no other part. In the end the parts' inputs and
    matrices, each times its factor, must give the logits. Equal numbers alone are no proof: an unused copy of the
    head has them too, and every layer has while the weights are still zero.

    The forwards run in eval mode without gradients; the training mode of every module comes back.

    model: any module that returns logits (B, K), see `logits_of`.
    example: a batch of B rows as the model takes it, see `featurecache.inputs.call`.
    layer: prove this layer or refuse; "a+b" names several that are added. It may be any module with a matrix (K, D) or
        (D, K).

    Raises ValueError with the candidates where there is no provable classifier.
    """
    watched = list(matrix_layers(model)) if layer is None else layers_named(model, layer)
    with evaluating(model):
        search = Search(model, example, watched)
        return search.any() if layer is None else search.all(layer)
