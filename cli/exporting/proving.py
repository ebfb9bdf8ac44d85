"""The proof of what was written: on cached rows, on images, or on noise where there are neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..output import clean, progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from featurecache import FeatureCache
    from featurecache.classifier import Classifier
    from featurecache.export import Agreement
    from featurecache.models import Model
    from rebalance import LinearHead

BLOCK = 2**24  # numbers of a block of features and logits
IMAGES = 32  # of a forward
Made: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""Inputs (B, …), the features (B, D) of a model for them and its logits (B, K) to the logits that were made."""


@dataclass(frozen=True)
class Inputs:
    """What is run through a model.

    data: the source of the images; None for noise. rows: N. batches: inputs (B, C, H, W). ids: N sample ids, if there
    are.
    """

    data: str | None
    rows: int
    batches: Callable[[], Iterator[Tensor]]
    ids: Sequence[str] | None = None


def on_rows(
    head: LinearHead,
    cache: FeatureCache,
    split: str,
    made: Callable[[Tensor], Tensor],
    what: str,
    *,
    dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """The agreement on every cached row of a split, as plain JSON values; ValueError where there is none.

    made: features (N, D) to logits. what: what a message calls it. dtype: the coarsest of its weights.
    """
    from featurecache.export import agreement, together

    rows = cache[split]
    size = max(1, min(4096, BLOCK // (head.width + head.num_classes)))
    parts: list[Agreement] = []
    with progress("prove") as update:
        for features, _ in rows.blocks(size):
            block = features.float()
            parts.append(agreement(head(block), made(block), terms=terms_of(head, block), **_dtype(dtype)))
            update(min(len(parts) * size, len(rows)), len(rows), what)
    found = together(parts)
    found.require(what)
    return {"cache": str(cache.path), "split": split, **_plain(found)}


def on_inputs(
    head: LinearHead,
    model: Model,
    classifier: Classifier | str,
    inputs: Inputs,
    made: Made,
    what: str,
    *,
    device: torch.device,
    cache: FeatureCache | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """The agreement on inputs that run through a model, as plain JSON values; ValueError where there is none.

    The expected logits are the head's on what the model's classifier is given. Where the images are in the cache too,
    these features are compared with the cached ones.
    """
    import torch

    from featurecache.classifier import capture
    from featurecache.export import agreement, together
    from featurecache.extraction.computing import Computing
    from featurecache.proof import logits_of

    cached = _cached(cache, model, inputs)
    parts: list[Agreement] = []
    same: list[Any] = []
    module, done = model.module, 0
    # Prepared as for extract: in eval mode, and on CUDA without TF32.
    prepared = Computing(device).prepared(module)
    with progress("check") as update, prepared, torch.no_grad(), capture(module, classifier) as captured:
        for batch in inputs.batches():
            logits = logits_of(module(batch.to(device)))
            features = captured.features.float()
            came = made(batch, features, logits)
            parts.append(agreement(head(features), came, terms=terms_of(head, features), **_dtype(dtype)))
            if cached is not None and inputs.ids is not None:
                same.append(cached.agreement(inputs.ids[done : done + len(batch)], features))
            done += len(batch)
            update(done, inputs.rows, what)
    found = together(parts)
    found.require(what)
    return {"data": inputs.data, **_plain(found), "features": _features([each for each in same if each], what)}


def terms_of(head: LinearHead, features: Tensor) -> Tensor:
    """(N, K) the root of the summed squares of what each logit of a head is the sum of; features: (N, D)."""
    from rebalance import GatedHead, NormalizedHead
    from rebalance.head import normalize

    x = features.to(head.weight.device)
    if isinstance(head, NormalizedHead):
        x = normalize(x - head.center)
    terms = (x.double().square() @ head.weight.double().square().T + head.bias.double().square()).sqrt()
    if isinstance(head, GatedHead):
        terms = terms * (1 + head.scale.double().abs()) + head.offset.double().abs()
    return terms


def images(data: str, root: Path | None, model: Model, names: Sequence[str] | None) -> Inputs:
    """The images of a data source as the model reads them. names: of the classes, where the model does not say."""
    import torch

    from featurecache.datasets import open_images

    opened = open_images(data, transform=model.transform, root=root, class_names=model.class_names or names)
    if not len(opened):
        raise ValueError(f"--check {clean(data, 200)}: no images; expected at least one")

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(opened), IMAGES):
            rows = [opened[i][0] for i in range(start, min(start + IMAGES, len(opened)))]
            if not all(isinstance(row, torch.Tensor) and row.ndim == 3 for row in rows):
                raise ValueError(f"--check {clean(data, 200)}: rows that are no images (C, H, W); expected images")
            yield torch.stack(rows)

    return Inputs(data, len(opened), batches, opened.sample_ids)


def noise(inputs: Tensor) -> Inputs:
    """A batch of noise, where no images are at hand."""
    return Inputs(None, len(inputs), lambda: iter((inputs,)))


def said(proof: dict[str, Any]) -> str:
    """A proof in one line."""
    where = f"{proof['rows']} rows of {clean(proof['split'])}" if "split" in proof else _where(proof)
    close = f"{proof['close']} too close to call, every other" if proof["close"] else "every"
    text = (
        f"{where}: logits differ by at most {proof['largest']:.2g} (rounding allows {proof['tolerance']:.2g}), "
        f"{close} decision is the head's"
    )
    if features := proof.get("features"):
        text += (
            f"; features of the {features['rows']} images in the cache differ by at most {features['largest']:.2g} "
            f"(storage allows {features['tolerance']:.2g})"
        )
    return text


def _where(proof: dict[str, Any]) -> str:
    if proof["data"] is None:
        return f"{proof['rows']} random inputs, as --check names no images"
    return f"{proof['rows']} images of {clean(str(proof['data']), 200)}"


def _cached(cache: FeatureCache | None, model: Model, inputs: Inputs) -> Any:
    """The cached features of the images; None where there are none, or they were read another way."""
    from featurecache.exporting.features import CachedFeatures

    if cache is None or inputs.ids is None:
        return None
    if cache.plan.specification.get("transform") not in (None, model.transform_text):
        return None
    found = CachedFeatures(cache, inputs.ids)
    return found if len(found) else None


def _features(parts: list[Any], what: str) -> dict[str, Any] | None:
    if not parts:
        return None
    rows, beyond = sum(part.rows for part in parts), sum(part.beyond for part in parts)
    worst = max(parts, key=lambda part: part.largest / max(part.tolerance, 1e-300))  # nearest to its own bound
    largest, tolerance = worst.largest, worst.tolerance
    if beyond:
        raise ValueError(
            f"{what}: the features of {beyond} of {rows} images are not the cached ones: they deviate by up to "
            f"{largest:.3g} where storage allows {tolerance:.3g}; expected the images and the model of the cache"
        )
    return {"rows": rows, "largest": largest, "tolerance": tolerance}


def _plain(found: Agreement) -> dict[str, Any]:
    kept = ("rows", "largest", "tolerance", "close")
    return {name: value for name, value in asdict(found).items() if name in kept}


def _dtype(dtype: torch.dtype | None) -> dict[str, Any]:
    return {} if dtype is None else {"dtype": dtype}
