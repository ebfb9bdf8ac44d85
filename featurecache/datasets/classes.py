"""One class map for every split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from featurecache.quoting import shown

MAX_CLASSES = 1_000_000


def columns(names: Collection[str], class_names: Sequence[str] | None, *, source: str) -> list[int]:
    """The column of each of a source's own class names.

    names: distinct class names in the source's order.
    class_names: the K names to map onto, from a model or the train split; None: the source's own order.
    source: what messages call the data.
    Raises ValueError when a name is not among class_names, or is there twice.
    """
    if class_names is None:
        return list(range(len(names)))
    known = {name: k for k, name in enumerate(class_names)}
    strange = [name for name in names if name not in known]
    if strange:
        example = f" (first {shown(class_names[0])})" if class_names else ""
        raise ValueError(
            f"{source}: class {shown(strange[0])} is not one of the {len(known)} known classes"
            f"{example}{_more(strange)}; rename it or take it out"
        )
    if len(known) < len(class_names):
        counts = Counter(class_names)
        for name in names:
            if counts[name] > 1:
                first, last = class_names.index(name), known[name]
                raise ValueError(
                    f"{source}: class {shown(name)} is the name of both column {first} and column {last} of the model; "
                    "write a list with columns for labels"
                )
    return [known[name] for name in names]


def numbered(numbers: Sequence[int], class_names: Sequence[str] | None, *, source: str) -> list[int]:
    """The column of each class that a source only numbers.

    numbers: distinct, at least 0: column numbers, unless the numbers are the names of classes.
    class_names: the K names to map onto; None: the numbers are the columns.
    source: what messages call the data.
    Raises ValueError when a number is neither a name nor a column.
    """
    if class_names is None:
        return list(numbers)
    names = [str(number) for number in numbers]
    if set(class_names).issuperset(names):
        return columns(names, class_names, source=source)
    if (largest := max(numbers)) >= len(class_names):
        raise ValueError(
            f"{source}: label {largest} is not one of the {len(class_names)} known classes; "
            f"expected 0 to {len(class_names) - 1}, or a known name"
        )
    return list(numbers)


def _more(strange: Sequence[str]) -> str:
    return f", nor are {len(strange) - 1} others" if len(strange) > 1 else ""
