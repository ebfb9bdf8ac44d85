"""The names of a checkpoint's tensors, made those of a model: what the model was wrapped in is taken off."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from featurecache.quoting import shown

DEEPEST = 8  # words that are taken off a name at most
COUNTER = "num_batches_tracked"  # absent in files of old batch normalisations


@dataclass(frozen=True, eq=False)
class Fitted:
    """A checkpoint with a model's names.

    state: the tensors, and the versions that PyTorch keeps beside them.
    beside: the tensors that were left out, with the names of the file.
    notes: what was done, one line each.
    """

    state: OrderedDict[str, Tensor]
    beside: dict[str, Tensor]
    notes: tuple[str, ...]


def fitted(state: Mapping[str, Tensor], names: Collection[str], *, checkpoint: str) -> Fitted:
    """The checkpoint with the names that a model has.

    Programs wrap the model that they train, and its names become module.fc.weight, _orig_mod.fc.weight or
    model.net.fc.weight. What stands before at least half of the model's names is taken off, whatever it is. Where all
    that is missing then, the classifier mostly, lies behind other words (head.fc.weight beside backbone.conv1.weight),
    they are taken off too. Once every tensor of the model is found, the others belong to the program that trained it,
    such as the class weights of its loss, and are left out.

    state: a state dict; where its names fit, or none come near, it comes back as it is.
    names: of the model's tensors.
    checkpoint: what messages call the file.
    Raises ValueError where the file holds several such models.
    """
    wanted = set(names)
    prefix = _prefix(state, wanted, checkpoint)
    cuts = {name: len(prefix) for name in state if prefix and name.startswith(prefix)}
    if not cuts:
        return Fitted(_renamed(state, dict.fromkeys(state, 0), [""]), {}, ())
    missing = {name for name in wanted if prefix + name not in state and not name.endswith(COUNTER)}
    second = _holding(state, missing, cuts)
    if second is not None:
        cuts |= {second + name: len(second) for name in missing}
    outside = [name for name in state if name not in cuts]
    notes = [f"checkpoint {checkpoint}: {shown(prefix)} taken off the names of its tensors"]
    if second:
        notes.append(f"checkpoint {checkpoint}: {shown(second)} taken off the names of {len(missing)} tensors")
    if missing and second is None:
        cuts |= dict.fromkeys(outside, 0)
        outside = []
    if outside:
        first = shown(outside[0])
        notes.append(f"checkpoint {checkpoint}: {len(outside)} tensors beside the model left out (first {first})")
    renamed = _renamed(state, cuts, [prefix] if second is None else [second, prefix])
    return Fitted(renamed, {name: state[name] for name in outside}, tuple(notes))


def _prefix(state: Mapping[str, Tensor], wanted: set[str], checkpoint: str) -> str:
    """What stands before at least half of the wanted names; nothing where most are there as they are."""
    counts = Counter(taken for name in state for taken, left in _splits(name) if left in wanted)
    most = max(counts.values(), default=0)
    if 2 * most < len(wanted) or counts[""] == most:
        return ""
    tied = [shown(taken) for taken, count in counts.items() if count == most]
    if len(tied) > 1:
        raise ValueError(
            f"checkpoint {checkpoint} holds {len(tied)} such models, behind {tied[0]} and {tied[1]}; "
            "save the one that is meant in a file of its own"
        )
    return next(taken for taken, count in counts.items() if count == most)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """The name as (what may be taken off, what is left), the shortest first."""
    at = 0
    for _ in range(DEEPEST + 1):
        yield name[:at], name[at:]
        at = name.find(".", at) + 1
        if not at:
            return


def _holding(state: Mapping[str, Tensor], missing: set[str], known: Collection[str]) -> str | None:
    """The one prefix behind which the file has all that is missing; None where there is none, or several."""
    behind: Counter[str] = Counter()
    for name in state:
        if name not in known:
            behind.update(taken for taken, left in _splits(name) if left in missing)
    whole = [taken for taken, count in behind.items() if count == len(missing)]
    return whole[0] if len(whole) == 1 else None


def _renamed(state: Mapping[str, Tensor], cuts: Mapping[str, int], prefixes: list[str]) -> OrderedDict[str, Tensor]:
    """The tensors with so many letters taken off their names, and the versions of the modules behind the prefixes."""
    out = OrderedDict((name[cuts[name] :], state[name]) for name in sorted(cuts, key=cuts.__getitem__))
    versions: OrderedDict[str, object] = OrderedDict()
    for prefix in prefixes:
        for name, version in getattr(state, "_metadata", {}).items():
            if f"{name}.".startswith(prefix):
                versions[f"{name}."[len(prefix) :].removesuffix(".")] = version
    vars(out)["_metadata"] = versions
    return out
