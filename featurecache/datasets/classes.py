"""One class map for every split."""

from __future__ import annotations

from collections.abc import Sequence

from featurecache.quoting import shown

MAX_CLASSES = 1_000_000


def columns(names: Sequence[str], class_names: Sequence[str] | None, *, source: str) -> list[int]:
    """The column of each of a source's own class names.

    names: distinct class names in the source's order.
    class_names: the K names to map onto, from a model or the train split; None: the source's own order.
    source: what messages call the data.
    Raises ValueError when a name is not among class_names.
    """
    if class_names is None:
        return list(range(len(names)))
    known = {name: k for k, name in enumerate(class_names)}
    strange = [name for name in names if name not in known]
    if strange:
        raise ValueError(
            f"{source}: class {shown(strange[0])} is not one of the {len(known)} known classes "
            f"(first {shown(class_names[0])}){_more(strange)}; rename it or take it out"
        )
    return [known[name] for name in names]


def _more(strange: Sequence[str]) -> str:
    return f", nor are {len(strange) - 1} others" if len(strange) > 1 else ""
