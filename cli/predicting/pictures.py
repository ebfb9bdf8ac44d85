"""Images, with the logits that a model makes of them, or a head of the model's features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..launch import own_device
from ..options import Common
from ..output import clean, note
from .options import Reading, Through
from .subject import Part, Subject, names_in
from .through import open_run, weights_of, with_program
from .which import which

if TYPE_CHECKING:
    from featurecache.models import Model
    from featurecache.stream import Stream
    from rebalance import LinearHead


@contextmanager
def of_images(source: str, name: str, through: Through, reading: Reading, common: Common) -> Iterator[Subject]:
    """The images of a data source.

    name: a head's file; joint, or the weights of a model, for its own classifier; or a program of the whole model.
    UsageError where --model is missing or says the same twice; ValueError when the head is not for the model's
    features, or the images' classes are not the model's.
    """
    import torch

    from featurecache.stream import streaming
    from rebalance import load_head

    kind, device = which(name), own_device(common.device)
    model_source, weights = weights_of(kind, name, through)
    head = load_head(name).to(device) if kind == "head" else None
    run = open_run(model_source, weights, through, head, _classes(source, model_source, reading))
    if head is not None:
        _check_reading(head, name, run.model)
    if kind == "program":
        run, device = with_program(run, Path(name)), torch.device("cpu")
    recorded = None if head is None else names_in(head.record.get("class_names"), head.num_classes)
    names = recorded or run.model.class_names
    images = _images(source, run.model, names, reading)
    for line in [*run.model.notes, *images.notes]:
        note(f"rebalance: {line}")
    with streaming(
        run.model.module,
        images,
        want=run.want,
        layer=run.layer,
        batch_size=reading.batch_size,  # type: ignore[arg-type]  # a number, or auto
        unreadable=reading.on_bad_image,  # type: ignore[arg-type]  # one of two words
        device=device,
        workers=reading.workers,
    ) as stream:
        if head is not None:
            _check_features(head, stream, name, model_source)
        subject = _subject(stream, head, images, names)
        yield replace(subject, record=run.record if head is None else head.record, reads=run.model.transform_text)


def _classes(source: str, model_source: str, reading: Reading) -> int | None:
    """How many classes the data have, for a function of the user's that wants to be told; every other source knows."""
    from featurecache.datasets import open_images
    from featurecache.datasets.plain_folder import is_plain_folder

    if not model_source.startswith("file:") or is_plain_folder(source):
        return None
    return len(open_images(source, transform=None, root=reading.root).class_names or ()) or None


def _images(source: str, model: Model, names: Sequence[str] | None, reading: Reading) -> Any:
    """The data, with labels that are columns of the model's; of a folder without class folders, without any."""
    from featurecache.datasets import open_images
    from featurecache.datasets.plain_folder import is_plain_folder, open_plain_folder

    if is_plain_folder(source):
        return open_plain_folder(source, transform=model.transform, class_names=names)
    return open_images(source, transform=model.transform, root=reading.root, class_names=names)


def _check_reading(head: LinearHead, name: str, model: Model) -> None:
    """ValueError where the features that the head was fitted on are of images that were read another way."""
    told = head.record.get("transform")
    if isinstance(told, str) and told != model.transform_text:
        raise ValueError(
            f"{name}: fitted on images read as {clean(told, 300)!r}; {clean(model.source, 160)} reads them as "
            f"{clean(model.transform_text, 300)!r}: give the --image-size and --transform of the extraction"
        )


def _check_features(head: LinearHead, stream: Stream, name: str, model: str) -> None:
    """ValueError unless the head is for these features, as far as its record tells."""
    from featurecache.storage import head_digest

    found = stream.found
    if head.width != found.width:
        raise ValueError(
            f"{name}: a head of {head.num_classes} classes on {head.width} features; model {model[:160]} gives "
            f"{found.width} features: name the model that the head's features were extracted with"
        )
    joint = head.record.get("joint")
    # The matrix of several layers is made of measured factors, whose last digits may differ.
    exact = found.head is not None and isinstance(joint, str) and not head.record.get("terms")
    if exact and found.head is not None and head_digest(*found.head) != joint:
        raise ValueError(
            f"{name}: fitted on the features of another model: the classifier {found.layer!r:.80} of {model[:160]} is "
            "not the one that they came with; give the weights that they were extracted with"
        )


def _subject(stream: Stream, head: LinearHead | None, images: Any, names: Sequence[str] | None) -> Subject:
    """What is predicted. Labels are dropped where nobody knows which columns they are."""
    classes = stream.found.width if head is None else head.num_classes
    own = images.class_names
    if names is not None and len(names) != classes:
        raise ValueError(f"the model gives {classes} logits and has {len(names)} class names; expected one a class")
    numbered = own is not None and tuple(own) == tuple(map(str, range(len(own))))
    known = names is not None or own is None or len(own) == classes or (numbered and len(own) < classes)
    if not known and own:
        note(
            f"rebalance: labels are left out: the data have {len(own)} classes, the model {classes} without names, so "
            "which is which is not known"
        )
    labels = images.labels
    return Subject(
        parts=_parts(stream, head, classes, known),
        rows=stream.rows,
        num_classes=classes,
        class_names=names if names is not None or not known or numbered or not own else tuple(own),
        split_names=(),
        labelled=known and (labels is None or bool((labels >= 0).any())),
        record=None,
        counts=None,
        where="they are in a cache, and none was found",
        batch_size=stream.batch_size,
    )


def _parts(stream: Stream, head: LinearHead | None, classes: int, known: bool) -> Iterator[Part]:
    for each in stream:
        labels = each.labels if known else each.labels * 0 - 1
        if labels.max() >= classes:
            raise ValueError(f"label {labels.max()} of the data is out of range: the model has {classes} classes")
        logits = each.values if head is None else head(each.values)
        yield Part("", each.ids, labels, each.readable, logits, each.reasons)
