"""The value of ``--cones``: the three classes that decision cones are drawn of."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from ..output import clean

EXPECTED = "expected three different classes, such as 3,7,12 or cat,dog,fox"


def check_cones(value: str) -> None:
    """ValueError unless three different names or ids are given; a name with a comma stands in double quotes."""
    _parts(value)


def read_cones(value: str, num_classes: int, class_names: Sequence[str] | None) -> list[int]:
    """The ids of the three classes, each given by its name or its id; a name goes before an id.

    num_classes: K. class_names: K names, None where there are none. ValueError where there is no such class, several
    are called so, or two of the three are the same.
    """
    ids = [_class_id(part, num_classes, class_names) for part in _parts(value)]
    if len({*ids}) != 3:
        raise ValueError(f"--cones {clean(value, 200)}: these are classes {', '.join(map(str, ids))}; {EXPECTED}")
    return ids


def _parts(value: str) -> list[str]:
    (row,) = csv.reader([value.replace("\r", " ").replace("\n", " ")], skipinitialspace=True)
    parts = [part.strip() for part in row]
    if len(parts) != 3 or len({*parts}) != 3 or "" in parts:
        raise ValueError(f"--cones {clean(value, 200)}: {EXPECTED}")
    return parts


def _class_id(part: str, num_classes: int, class_names: Sequence[str] | None) -> int:
    called = [k for k, name in enumerate(class_names or ()) if name == part]
    if len(called) > 1:
        raise ValueError(
            f"--cones: {len(called)} classes are called {clean(part)}; name one by its id, {called[0]} say"
        )
    if called:
        return called[0]
    if part.isascii() and part.isdigit() and len(part) < 10 and int(part) < num_classes:
        return int(part)
    named = "a class name or " if class_names is not None else ""
    raise ValueError(f"--cones: no class {clean(part)}; expected {named}an id, 0..{num_classes - 1}")
