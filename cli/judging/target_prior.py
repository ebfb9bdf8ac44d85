"""The value of ``--target-prior``: in which shares the classes are supposed to come; and of options like it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..output import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from featurecache import FeatureCache

EXPECTED = "expected uniform, train, forward:50, backward:50 or a file of shares, one a class"
SHIFTED = ("forward", "backward")
ROUNDING = 1e-3  # how far from 1 shares may sum that were written with few digits
MAX_BYTES = 2**26


@dataclass(frozen=True)
class Classes:
    """Whose shares they are.

    number: K. names: K of them, or None. counts: (K,) training rows a class, or None. unknown: what to say, after the
    option, where counts are needed and there are none.
    """

    number: int
    names: Sequence[str] | None
    counts: NDArray[np.int64] | None
    unknown: str


def check_target_prior(value: str) -> None:
    """ValueError unless it is a word that is known, with a ratio from 1 where it takes one, or a file that is there."""
    word, ratio = _word(value)
    if word is None and not Path(value).is_file():
        raise ValueError(f"--target-prior {clean(value, 200)}: no such file; {EXPECTED}")
    if word in SHIFTED and not _ratio(ratio) >= 1:
        raise ValueError(f"--target-prior {clean(value)}: expected {word}:RATIO, a number from 1, such as {word}:50")


def read_target_prior(value: str, cache: FeatureCache, counts: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """The shares (K,) of the classes, with sum 1, as `read_prior` reads them.

    cache: whose classes they are. counts: (K,) training rows a class, None where they are not known.
    """
    check_target_prior(value)
    unknown = (
        f"{cache.path} has no training rows (no split called train), so the classes have no training counts; give a "
        "file of shares, one a class"
    )
    return read_prior("--target-prior", value, Classes(cache.num_classes, cache.class_names, counts, unknown))


def with_shares(hyperparameters: Mapping[str, Any], cache: FeatureCache) -> dict[str, Any]:
    """A method's hyperparameters, in which a target prior that was to be read is a list of K shares of any sum.

    ValueError where it does not suit the classes of the cache.
    """
    from ..caches import train_counts
    from ..parameter_types import Shares

    unknown = f"{cache.path} has no split called train, so the classes have no training counts"
    classes = Classes(cache.num_classes, cache.class_names, train_counts(cache), unknown)
    return {
        name: read_prior(f"--{name.replace('_', '-')}", value, classes, whole=False).tolist()
        if isinstance(value, Shares)
        else value
        for name, value in hyperparameters.items()
    }


def read_prior(option: str, value: str, classes: Classes, *, whole: bool = True) -> NDArray[np.float64]:
    """The shares (K,) of the classes, with sum 1.

    option: what messages call the value. value: uniform, train, forward:RATIO, backward:RATIO (of the training
    counts), or a file: K numbers; or a .csv with one column, or two, class and share, the class by name or id.
    whole: whether the shares of a file must sum to 1; if not, they come as they are.
    ValueError when the file is none of this, its shares do not sum to 1, or the counts are needed and not known.
    """
    import numpy as np

    from rebalance.prior import as_prior, shifted_prior

    word, ratio = _word(value)
    if word == "uniform":
        return np.full(classes.number, 1 / classes.number)
    if word is not None:
        counts = classes.counts
        if counts is None or not counts.any():
            raise ValueError(f"{option} {value}: {classes.unknown}")
        if word == "train":
            return np.asarray(counts / counts.sum(), dtype=np.float64)
        return np.asarray(shifted_prior(counts, _ratio(ratio), backward=word == "backward"))
    said = f"{option} {clean(value, 200)}"
    shares = _read(Path(value), classes.number, classes.names, said)
    found = as_prior(shares, classes.number, name=f"{said}: the shares").numpy()
    if not whole:
        return np.asarray(shares)
    total = float(np.sum(shares))
    if abs(total - 1) > ROUNDING:
        raise ValueError(f"{said}: the shares sum to {total:.6g}; expected 1: divide each by {total:.6g}")
    return found


def _word(value: str) -> tuple[str | None, str]:
    """The word and what stands behind its colon; no word where it is a file."""
    word, colon, ratio = value.partition(":")
    known = (word in SHIFTED and colon) or (word in ("uniform", "train") and not colon)
    return (word, ratio) if known else (None, "")


def _ratio(text: str) -> float:
    """The number, or NaN where it is none or infinite."""
    try:
        ratio = float(text)
    except ValueError:
        return float("nan")
    return ratio if ratio < float("inf") else float("nan")


def _read(path: Path, classes: int, names: Sequence[str] | None, said: str) -> list[float]:
    """The numbers of a file in the order of the classes; said: what messages begin with."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{said}: {path.stat().st_size} bytes; expected {classes} numbers, one a class")
    try:
        text = path.read_text("utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{said}: not a text file; expected {classes} numbers, one a class") from None
    if all(len(row) == 1 for row in rows):
        cells = [row[0] for row in rows]
        if len(cells) > 1 and _number(cells[0].split()[0]) is None:
            del cells[0]  # the name of the column
        words = [word for cell in cells for word in cell.split()]
    elif len(rows) == 1:
        words = rows[0]
    elif all(len(row) == 2 for row in rows):
        return _by_class(said, rows, classes, names)
    else:
        raise ValueError(f"{said}: {len(rows)} lines of several columns; expected one, or two: class and share")
    if (wrong := next((word for word in words if _number(word) is None), None)) is not None:
        raise ValueError(f"{said}: {clean(wrong)!r} is not a number; expected {classes} shares, one a class")
    if len(words) != classes:
        raise ValueError(f"{said}: {len(words)} numbers; expected {classes} shares, one a class")
    return [float(word) for word in words]


def _by_class(said: str, rows: list[list[str]], classes: int, names: Sequence[str] | None) -> list[float]:
    """The shares of lines of class and share, whatever their order."""
    if len(rows) == classes + 1 and _number(rows[0][1]) is None:
        rows = rows[1:]  # the names of the columns
    ids = {str(k): k for k in range(classes)}
    known = ids if names is None else ids | {name: k for k, name in enumerate(names)}
    if names is not None and {name.strip() for name, _ in rows} <= set(names):
        known = {name: k for k, name in enumerate(names)}  # names that are numbers of other classes mean themselves
    shares: dict[int, float] = {}
    for name, share in rows:
        place, number = known.get(name.strip(), known.get(name)), _number(share)
        if place is None:
            raise ValueError(
                f"{said}: no class is called {clean(name)!r}; expected the cache's names, or 0..{classes - 1}"
            )
        if number is None:
            raise ValueError(f"{said}: {clean(share)!r} is not a number; expected the share of class {clean(name)!r}")
        if place in shares:
            raise ValueError(f"{said}: class {clean(name)!r} is there twice; expected every class once")
        shares[place] = number
    if len(shares) < classes:
        missing = next(k for k in range(classes) if k not in shares)
        called = str(missing) if names is None else f"{clean(names[missing])!r} ({missing})"
        raise ValueError(f"{said}: class {called} is missing ({classes - len(shares)} of {classes}); expected all")
    return [shares[k] for k in range(classes)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
