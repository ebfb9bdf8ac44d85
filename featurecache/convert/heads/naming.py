"""Which of a stranger's arrays are a classifier's weight and bias."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from featurecache.layers import LISTED
from featurecache.quoting import shown

# What the last part of a weight's name may be, in lower case -> the bias that belongs to it.
PAIRS = {"weight": "bias", "w": "b", "kernel": "bias", "coef_": "intercept_", "coef": "intercept"}
COEFFICIENTS = ("coef_", "coef")
CLASSES = "classes_"  # the label of every row, as scikit-learn calls it
BESIDE = {CLASSES, "feature_names_in_", "n_features_in_", "n_iter_"}  # what scikit-learn keeps beside them
LONGEST = 40  # characters of a name in a list of them
WHOLE = "a whole model is no head: extract its features (rebalance extract), and the cache has its classifier"


def find_pair(there: Mapping[str, tuple[int, ...]], names: Mapping[str, str]) -> tuple[str, str | None]:
    """Their names of the weight and the bias; None where there is no bias.

    there: what the file has, their names -> shapes.
    names: weight and bias -> theirs, as the user said; an empty text means that there is none.
    ValueError, listing what is there, when a name is unknown, when no array or more than one could be meant, or when
    the file holds more than a classifier and nobody said what to take.
    """
    for ours, theirs in names.items():
        if ours not in ("weight", "bias") or (ours == "weight" and not theirs):
            raise ValueError(f"--map {shown(ours)}={shown(theirs)}: expected weight=NAME and, where needed, bias=NAME")
        if theirs and theirs not in there:
            raise ValueError(f"no array {shown(theirs)}; {_listed(there)}")
    weight = names["weight"] if "weight" in names else _only_weight(there)
    bias = names["bias"] if "bias" in names else _partner(weight, there)
    strange = there.keys() - {weight, bias} - BESIDE
    if strange and not names:
        raise ValueError(
            f"it holds more than a weight and a bias ({len(strange)}: {_joined(sorted(strange))}); {WHOLE}; or say "
            f"--map weight={weight[:80]} if the rest does not change the logits"
        )
    return weight, bias or None


def is_known(name: str) -> bool:
    """Whether an array of this name would be taken for a part of a classifier."""
    return _word(name) in {*PAIRS, *PAIRS.values(), CLASSES}


def check_pair(weight: tuple[int, ...], bias: tuple[int, ...] | None) -> None:
    """ValueError unless these are the shapes (K, D) and (K,) of a classifier.

    bias: may be one number for all classes.
    """
    if len(weight) != 2 or 0 in weight:
        raise ValueError(f"the weight is {weight}; expected (K, D), a row a class")
    if bias is None or bias in ((), (weight[0],)):
        return
    if bias == (weight[1],):
        raise ValueError(
            f"the weight is {weight} and the bias {bias}: it seems to be (D, K); expected (K, D), a row a class: save "
            "weight.T"
        )
    raise ValueError(f"the weight is {weight} and the bias {bias}; expected (K, D) and (K,)")


def matrix_shape(name: str, there: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of a weight without the last axes of a 1x1 convolution; scikit-learn's (D,) of two classes as (1, D).

    name: of the weight. there: as in `find_pair`.
    """
    shape = there[name]
    if len(shape) == 1 and CLASSES in there and is_of_sklearn(name):  # without classes it is no classifier's
        return (1, *shape)
    return shape[:2] if len(shape) > 2 and math.prod(shape[2:]) == 1 else shape


def is_of_sklearn(name: str) -> bool:
    """Whether scikit-learn calls a weight so."""
    return _word(name) in COEFFICIENTS


def _only_weight(there: Mapping[str, tuple[int, ...]]) -> str:
    """The one array that is called like a weight and has the shape of one."""
    found = [name for name in there if _word(name) in PAIRS and len(matrix_shape(name, there)) == 2]
    if not found:
        raise ValueError(
            f"no array that is known to be a weight (K, D); {_listed(there)}; say which: --map weight=NAME"
        )
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} arrays may be the weight ({_joined(found)}); say which: --map weight=NAME,bias=NAME; {WHOLE}"
        )
    return found[0]


def _partner(weight: str, there: Mapping[str, tuple[int, ...]]) -> str | None:
    """The bias that stands beside a weight."""
    group, word = weight[: len(weight) - len(_word(weight))], PAIRS.get(_word(weight))
    found = [name for name in there if name.startswith(group) and name[len(group) :].lower() == word]
    if len(found) > 1:
        raise ValueError(f"{_joined(found)} may be the bias; say which: --map bias=NAME")
    return found[0] if found else None


def _word(name: str) -> str:
    """The last part of a name, in lower case."""
    return name.replace("/", ".").rpartition(".")[2].lower()


def _listed(there: Mapping[str, tuple[int, ...]]) -> str:
    if not there:
        return "there are no arrays"
    last = ", ".join(f"{_short(name)} {shape}" for name, shape in [*there.items()][-LISTED:])
    return f"there are {last}" + " and others" * (len(there) > LISTED)


def _joined(names: Sequence[str]) -> str:
    return ", ".join(_short(name) for name in names[-LISTED:]) + " and others" * (len(names) > LISTED)


def _short(name: str) -> str:
    return shown(name if len(name) <= LONGEST else f"…{name[-LONGEST:]}")
