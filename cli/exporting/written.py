"""What is written: a checkpoint, or a program of the head or of the whole model; each proved, or removed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..caches import versions
from ..output import clean, note
from . import proving
from .source import OtherModel, Whole, classifier_in, of_weights, opened, reopened, shape_of_input, source_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from featurecache import FeatureCache
    from featurecache.export import Program
    from rebalance import LinearHead

    from ..options import Common
    from .options import Origin, Proof, Targets


@dataclass(frozen=True)
class Job:
    """One head to be written.

    path: its file. head: whose logits are expected. plain: the same, folded where that was asked for. cache, split: the
    rows of the proof; None: there are none.
    """

    path: Path
    head: LinearHead
    plain: LinearHead
    cache: FeatureCache | None
    split: str | None
    targets: Targets
    origin: Origin
    proof: Proof
    common: Common

    def write(self) -> dict[str, Any]:
        """Write all that was asked for; what was written and how it was proved, as plain JSON values."""
        done: dict[str, Any] = {"proved": {}, "checked": {}}
        self._check_names()
        for target in (self.targets.out, self.targets.module, self.targets.onnx):
            if target is not None:
                _refuse_head(target, self.path)
        whole = self._whole()
        if self.targets.into is not None and self.targets.out is not None:
            done |= self._checkpoint(self.targets.into, self.targets.out, done)
        for kind, path in (("module", self.targets.module), ("onnx", self.targets.onnx)):
            if path is not None:
                try:
                    done |= {kind: str(path)} | self._program(kind, path, whole, done)
                except ValueError as error:
                    before = [str(done[each]) for each in ("checkpoint", "module") if each in done and each != kind]
                    if not before:
                        raise
                    raise ValueError(f"{error}; {' and '.join(before)} was proved and is written") from error
        return done

    def _check_names(self) -> None:
        """ValueError or ImportError for a program that cannot be written, before any other thing is."""
        from featurecache.export import ARCHIVE, ONNX, check_path, need_onnx

        if self.targets.module is not None:
            check_path(self.targets.module, ARCHIVE)
        if self.targets.onnx is not None:
            check_path(self.targets.onnx, ONNX)
            need_onnx()

    def _whole(self) -> Whole | None:
        """The model, where it is needed: to be written whole, or to make features of images."""
        if not (self.targets.full or (self.proof.check and (self.targets.module or self.targets.onnx))):
            return None
        return opened(source_of(self.origin, self.targets.into, self.cache), self.head, self.origin, self.cache)

    def _checkpoint(self, into: Path, out: Path, done: dict[str, Any]) -> dict[str, Any]:
        from featurecache.checkpoint import check_target, replace_in_checkpoint

        head, terms = self.plain, self.head.record.get("terms") or ()
        if self.proof.check:
            source_of(self.origin, into, self.cache)  # a wrong usage before anything is written
        check_target(into, out)
        # With its own ending, by which loaders tell formats; what lies under the final name stays until this is proved.
        unproved = out.with_name(f".{out.stem}.unproved{out.suffix}")
        replaced = replace_in_checkpoint(
            into, unproved, layer=self.origin.layer, recorded=head.record.get("layer"), weight=head.weight,
            bias=head.bias, expected=head.record.get("joint"), terms=terms,
        )  # fmt: skip
        try:
            self._compare_weights(into)
            self._prove_checkpoint(into, unproved, replaced.layer, bool(replaced.averaged), done)
            os.replace(unproved, out)
        except BaseException as error:
            shutil.rmtree(unproved, ignore_errors=True) if unproved.is_dir() else unproved.unlink(missing_ok=True)
            if isinstance(error, ValueError) and unproved.name in str(error):
                raise ValueError(str(error).replace(unproved.name, out.name)) from error
            raise
        for name in replaced.left:
            note(f"rebalance: {clean(str(into / name), 300)} holds the old classifier too and was not copied")
        return {"checkpoint": str(out), "into": str(into), "layer": replaced.layer, "averaged": replaced.averaged}

    def _compare_weights(self, into: Path) -> None:
        """ValueError for a checkpoint of another model than the features; a note where nobody can say.

        The classifier's own weights are compared anyway; this is about all the others.
        """
        from contextlib import suppress

        from featurecache.checkpoint import digest, load_state

        wanted = None if self.cache is None else self.cache.plan.specification.get("weights")
        if wanted is None:
            return
        for ema in (False, True):
            with suppress(ValueError):
                if digest(load_state(into, ema=ema)) == wanted:
                    return
        try:
            of_weights(source_of(self.origin, into, self.cache), self.head, self.origin, self.cache)
        except OtherModel:
            raise
        except (click.UsageError, ValueError, ImportError):  # no model, or none that can be opened with this file
            note(
                f"rebalance: the weights in {clean(str(into), 300)} are not, or not under these names, those the "
                "features were extracted with: only its classifier is proved; --model SOURCE:NAME compares them all"
            )

    def _prove_checkpoint(self, into: Path, written: Path, layer: str, ema: bool, done: dict[str, Any]) -> None:
        from featurecache.checkpoint import read_classifier

        terms = self.head.record.get("terms") or ()
        weight, bias = read_classifier(written, layer=layer, terms=terms, ema=ema)
        parts = [read_classifier(written, layer=term["name"], ema=ema)[0].dtype for term in terms]
        dtype = min((weight.dtype, *parts), key=_digits)
        if self.cache is not None and self.split is not None:
            done["proved"]["checkpoint"] = proving.on_rows(
                self.head, self.cache, self.split, _linear(weight, bias), clean(str(self.targets.out), 300), dtype=dtype
            )
        if self.proof.check:
            source = source_of(self.origin, into, self.cache).of(written)
            model = reopened(source, self.head, self.origin, ema)
            classifier = classifier_in(model, dict(self.head.record), layer, shape_of_input(model))
            done["checked"]["checkpoint"] = proving.on_inputs(
                self.head, model, classifier, proving.images(self.proof.check, self.proof.root, model, self._names()),
                lambda _inputs, _features, logits: logits, clean(str(self.targets.out), 300),
                device=self.common.device, cache=self.cache, dtype=dtype,
            )  # fmt: skip

    def _program(self, kind: str, path: Path, whole: Whole | None, done: dict[str, Any]) -> dict[str, Any]:
        import torch

        from featurecache.export import export_onnx, export_program

        module, example = self.plain.to_module(), torch.zeros(2, self.head.width)
        if self.targets.full and whole is not None:
            module, example = self._replaced(whole), torch.zeros(2, *whole.shape)
        about, check = self._about(whole), self._check(kind, path, whole, done)
        if kind == "module":
            export_program(module, example, path, about=about, check=check)
            return {}
        name = "images" if self.targets.full else "features"
        return {"opset": export_onnx(module, example, path, about=about, check=check, name=name)}

    def _replaced(self, whole: Whole) -> nn.Module:
        from featurecache import replace_classifier

        return replace_classifier(whole.model.module, self.plain.to_module(), layer=whole.classifier)

    def _check(self, kind: str, path: Path, whole: Whole | None, done: dict[str, Any]) -> Callable[[Program], None]:
        """What proves a program before it gets its name."""
        what = clean(str(path), 300)

        def check(program: Program) -> None:
            if not self.targets.full and self.cache is not None and self.split is not None:
                done["proved"][kind] = proving.on_rows(self.head, self.cache, self.split, program, what)
            if whole is not None:
                done["checked"][kind] = self._on_inputs(program, whole, what)

        return check

    def _on_inputs(self, program: Program, whole: Whole, what: str) -> dict[str, Any]:
        if self.proof.check:
            inputs = proving.images(self.proof.check, self.proof.root, whole.model, self._names())
        else:
            inputs = proving.noise(whole.random(self.common.seed))

        def made(batch: Tensor, features: Tensor, _logits: Tensor) -> Tensor:
            return program(batch if self.targets.full else features)

        return proving.on_inputs(
            self.head, whole.model, whole.classifier, inputs, made, what, device=self.common.device, cache=self.cache
        )

    def _names(self) -> list[str] | None:
        names = self.head.record.get("class_names")
        return names if isinstance(names, list) else None

    def _about(self, whole: Whole | None) -> dict[str, Any]:
        """What is stored with a program."""
        known: dict[str, Any] = {
            "class_names": self._names(),
            "record": dict(self.plain.record),
            "input": {"name": "features", "row": [self.head.width]},
            "versions": versions(),
        }
        if self.targets.full and whole is not None:
            names = whole.model.class_names
            known["class_names"] = known["class_names"] or (None if names is None else list(names))
            known["input"] = {"name": "images", "row": list(whole.shape), "transform": whole.model.transform_text}
        return known


def _refuse_head(target: Path, given: Path) -> None:
    """ValueError where a file to be written is a head or lies in a cache: an export is no head."""
    from featurecache.layout import CACHE_FILE
    from rebalance.head_file import is_own

    shown = clean(str(target), 300)
    if target.exists() and (target.samefile(given) or (target.is_file() and is_own(target))):
        raise ValueError(f"{shown} is a head; give another name to what is exported from it")
    if (target.parent / CACHE_FILE).exists():
        raise ValueError(f"{shown} would lie in a cache; give a name outside of it")


def _linear(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The logits of a checkpoint's classifier: its numbers are rounded to the file's dtype, the sums are not."""
    matrix, offset = weight.float().T, 0.0 if bias is None else bias.float()
    return lambda features: features @ matrix + offset


def _digits(dtype: torch.dtype) -> float:
    import torch

    return -torch.finfo(dtype).eps
