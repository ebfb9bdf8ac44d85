"""Which steps the study has: the paper's design on every set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rebalance import METHODS

from .sets import StudySet
from .steps import Step

SAMPLERS = ("instance", "class", "sqrt", "progressive")
CLASSIFIERS = ("joint", "ncm", "crt", "tau_norm", "lws")
REBALANCED = CLASSIFIERS[1:]
PARTS = {"classifier": "backbone", "last-block": "last-block", "trunk": "none"}  # what is trained: what --freeze says
DECAYS = "weight_decay=1e-6,1e-5,1e-4,1e-3,1e-2"
REDRAW = str(Path(__file__).with_name("redraw.py"))
LEFT_OUT = {"icons": ("cosine", "ldam"), "wordnet": ("cosine", "ldam")}  # of the methods: minutes each
REPLACED = ("--epochs", "--lr")  # by the recipe of the fine-tuning arms


@dataclass(frozen=True)
class Layout:
    """Where everything of one set lies. work: the study's folder. made: the set."""

    work: Path
    made: StudySet

    @property
    def folder(self) -> Path:
        return self.work / "runs" / self.made.name

    def model(self, run: str) -> Path:
        """The checkpoint of a run."""
        return self.folder / f"{run}.pt"

    def cache(self, run: str) -> Path:
        """Its features."""
        return self.folder / f"{run}.cache"

    def step(self, run: str, what: str, *words: str | Path, after: str = "", fresh: Path | None = None) -> Step:
        """A step of a run. after: another step of the same run, or RUN/WHAT."""
        before = after if "/" in after or not after else f"{run}/{after}"
        return Step(
            f"{self.made.name}/{run}/{what}",
            tuple(map(str, words)),
            (f"{self.made.name}/{before}",) if before else (),
            () if fresh is None else (fresh,),
        )


def plan(work: Path, sets: list[StudySet], seeds: int) -> list[Step]:
    """All steps, every one after those that it needs; the longest sets first is the caller's order of the sets."""
    steps: list[Step] = []
    for made in sets:
        layout = Layout(work, made)
        layout.folder.mkdir(parents=True, exist_ok=True)
        steps += [*_trained(layout, seeds)] if made.training else [*_ready(layout, seeds)]
    return steps


def is_trained(made: StudySet) -> bool:
    """Whether the backbone is learned in the study, with every sampler; else its features are ready."""
    return bool(made.training)


def _trained(layout: Layout, seeds: int) -> Iterator[Step]:
    """Four samplers; heads beside every cache; parts of the instance-balanced model tuned on."""
    made = layout.made
    for seed in range(seeds):
        for sampler in SAMPLERS:
            run = f"{sampler}-{seed}"
            words = ["rebalance", "train", *_data(made), *made.training, "--sampler", sampler, "--seed", str(seed)]
            yield layout.step(run, "train", *words, "--out", layout.model(run), "--json")
            yield layout.step(run, "extract", *_extract(layout, run, _splits(layout, run)), after="train")
            yield _compare(layout, run, _every(made) if sampler == "instance" else CLASSIFIERS, "extract", seed)
        for part, frozen in PARTS.items() if made.tuning else ():
            run, start = f"{part}-{seed}", f"instance-{seed}"
            words = ["rebalance", "train", *_data(made), *_recipe(made), "--sampler", "class", "--seed", str(seed)]
            words += ["--init", f"run:{layout.model(start)}", "--fresh-classifier", "--freeze", frozen]
            yield layout.step(run, "train", *words, "--out", layout.model(run), "--json", after=f"{start}/train")
            yield layout.step(run, "extract", *_extract(layout, run, {"test": made.splits["test"]}), after="train")


def _ready(layout: Layout, seeds: int) -> Iterator[Step]:
    """Features that are there, or of a pretrained model; draws of train and val, a plain head for each, its rivals."""
    made, before, base = layout.made, "", layout.made.cache
    if base is None:
        run, base = "features-all", layout.cache("features-all")
        before = f"{run}/extract"
        yield layout.step(run, "extract", *_extract(layout, run, dict(made.splits)))
    for seed in range(seeds):
        run, plain = f"draw-{seed}", layout.folder / f"draw-{seed}.plain.cache"
        folder, head = layout.folder / f"draw-{seed}", layout.folder / f"draw-{seed}.safetensors"
        yield layout.step(run, "redraw", "python", REDRAW, base, folder, str(seed), after=before, fresh=folder)
        yield layout.step(run, "plain", "rebalance", "convert", folder, plain, "--json", after="redraw", fresh=plain)
        words = ["rebalance", "tune", "logit_adjusted_loss", plain, "--grid", "tau=0", "--grid", DECAYS]
        yield layout.step(run, "joint", *words, "--out", head, "--json", after="plain")
        cache = layout.cache(run)
        words = ["rebalance", "convert", folder, cache, "--head", head, "--json"]
        yield layout.step(run, "headed", *words, after="joint", fresh=cache)
        yield _compare(layout, run, _every(made), "headed", seed)


def _data(made: StudySet) -> list[str]:
    val = ["--val", made.splits["val"]] if "val" in made.splits else []
    return [made.splits["train"], *val, *_root(made)]


def _root(made: StudySet) -> list[str]:
    return [] if made.root is None else ["--root", str(made.root)]


def _recipe(made: StudySet) -> list[str]:
    """The options of training, with those of the fine-tuning arms in their place."""
    replaced = {*REPLACED, *(word for word in made.tuning if word.startswith("--"))}
    kept: list[str] = []
    dropping = False
    for word in made.training:
        dropping = word in replaced if word.startswith("--") else dropping
        if not dropping:
            kept.append(word)
    return [*kept, *made.tuning]


def _splits(layout: Layout, run: str) -> dict[str, str]:
    """The data of every split; where training held out rows itself, by the lists that it wrote."""
    made = layout.made
    if "val" in made.splits:
        return {name: made.splits[name] for name in ("train", "val", "test")}
    lists = {name: layout.model(run).with_suffix(f".{name}.txt") for name in ("train", "val")}
    own = {name: f"{made.splits['train']}:only={path}" for name, path in lists.items()}
    return {**own, "test": made.splits["test"]}


def _extract(layout: Layout, run: str, splits: dict[str, str]) -> list[str]:
    made = layout.made
    named = [word for name, data in splits.items() for word in ("--split", f"{name}={data}")]
    words = ["rebalance", "extract", str(layout.cache(run)), "--model", *_model(layout, run), *named, *_root(made)]
    return [*words, *made.extracting, "--shots", _shots(made), "--json"]


def _model(layout: Layout, run: str) -> list[str]:
    """A pretrained model, or that of a run; where its code is a file's, the file is named: nobody runs it unasked."""
    made = layout.made
    if made.model is not None:
        return [made.model]
    arch = dict(pairwise(made.training)).get("--arch", "")
    path = str(layout.model(run))
    return [arch, "--checkpoint", path] if arch.startswith("file:") else [f"run:{path}"]


def _every(made: StudySet) -> list[str]:
    return [name for name in METHODS if name not in LEFT_OUT.get(made.name, ())]


def _compare(layout: Layout, run: str, methods: Sequence[str], after: str, seed: int) -> Step:
    words = ["rebalance", "compare", str(layout.cache(run)), "--methods", ",".join(methods)]
    words += ["--shots", _shots(layout.made)]
    return layout.step(run, "compare", *words, "--replicates", "0", "--seed", str(seed), "--json", after=after)


def _shots(made: StudySet) -> str:
    return ",".join(map(str, made.shots))
