"""How many training rows a class images are not told with: those of the head's cache, or of the one that is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..caches import open_head, train_counts
from ..exporting.belonging import cache_of
from ..output import clean, note
from .options import Through
from .subject import Subject
from .which import which

if TYPE_CHECKING:
    from featurecache import FeatureCache


def counted(subject: Subject, name: str, through: Through, named: Path | None) -> Subject:
    """The subject with the training rows a class of a cache; as it is where none is named and none near is the head's.

    subject: images. name: of HEAD|CHECKPOINT; only a head tells which cache is its own. named: the cache.
    ValueError when the named one is for another head or other classes.
    """
    if which(name) != "head":
        found = None if named is None else _of_classes(named, subject)
    elif named is not None:
        from rebalance import load_head

        found = cache_of(load_head(name), Path(name), None, named)
    else:
        return _near(subject, Path(name), _weights(through))
    return subject if found is None else _of(found, subject)


def _near(subject: Subject, path: Path, weights: Path | None) -> Subject:
    """The subject with the counts of the cache that is found; which one it is, is said: a model has many at times."""
    from rebalance import load_head

    head = load_head(path)
    found = cache_of(head, path, weights, None)
    if found is None:
        return subject
    try:
        open_head(path, found, head.weight.device)
    except ValueError:
        return replace(subject, where=f"{found.path} has the head's features, of other classes")
    if "train" in found:
        note(f"rebalance: training rows a class: those of {clean(str(found.path), 300)}; of another with --cache")
    return _of(found, subject)


def _of(cache: FeatureCache, subject: Subject) -> Subject:
    """The subject with the counts of a cache."""
    return replace(subject, counts=train_counts(cache), where=f"{cache.path} has no split called train")


def _weights(through: Through) -> Path | None:
    """The file of the model's weights, beside which a cache may lie."""
    kind, _, rest = (through.source or "").partition(":")
    return through.checkpoint or (Path(rest) if kind == "run" else None)


def _of_classes(path: Path, subject: Subject) -> FeatureCache:
    """The cache; ValueError unless its classes are those of the subject, and its features those a record names."""
    from featurecache import FeatureCache

    opened, names = FeatureCache(path), subject.class_names
    if opened.num_classes != subject.num_classes:
        raise ValueError(f"--cache {path}: {opened.num_classes} classes; the model has {subject.num_classes}")
    if names is not None and opened.class_names is not None and list(names) != list(opened.class_names):
        mine, its = next((a, b) for a, b in zip(names, opened.class_names, strict=True) if a != b)
        raise ValueError(
            f"--cache {path}: its class {clean(its)!r} is {clean(mine)!r} for the model; expected the same classes in "
            "the same order"
        )
    made_on = (subject.record or {}).get("cache")
    if isinstance(made_on, str) and made_on != opened.hash:
        raise ValueError(
            f"--cache {path}: features {opened.hash[:12]}; the program is of a head that was made on the cache "
            f"{clean(made_on, 12)}"
        )
    return opened
