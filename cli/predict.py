"""``rebalance predict``: the most likely classes of every row, with their probabilities."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .launch import how_to_go_on
from .options import Common, common, example
from .output import clean, emit, note, percent, progress
from .predicting.options import (
    Answers,
    PredictCommand,
    Reading,
    Through,
    answers_options,
    reading_options,
    through_options,
)
from .predicting.subject import Subject


@click.command(
    cls=PredictCommand,
    epilog=example(
        "rebalance predict photos.cache tau.safetensors --split test --out predictions.csv --top-k 3",
        "rebalance predict photos/new rebalanced.pt --out predictions.parquet",
        "rebalance predict photos/new tau.safetensors --model run:joint.pt --out predictions.csv",
        "rebalance predict photos.cache joint --out balanced.csv --target-prior uniform",
    ),
    short_help="Write the predictions of a head or a model for every row.",
)
@click.argument("rows", metavar="CACHE|DATA")
@click.argument("by", metavar="HEAD|CHECKPOINT")
@answers_options
@reading_options
@through_options
@common
def predict(rows: str, by: str, answers: Answers, reading: Reading, through: Through, common: Common) -> dict[str, Any]:
    """Write the most likely classes of every row and their probabilities to a file.

    CACHE HEAD: the rows of a cache, by a head for its features. HEAD is a head's file, a program of one that
    `rebalance export` wrote (.pt2, .onnx), or the word joint: the classifier that came with the features.

    DATA CHECKPOINT: images, by a model and its own classifier. DATA is what `rebalance extract` takes, or a folder
    that holds nothing but images. CHECKPOINT is a file of `rebalance train`, also after `rebalance export`; or with
    --model, weights for that, a program of it that `rebalance export` wrote, or the word joint: --model as it is.

    DATA HEAD: images, by --model with HEAD in the place of its classifier.

    The file has the columns id, label (where one is known), prediction (the number of a class), name and probability;
    with --top-k 2 or more they are prediction_1, name_1, probability_1, prediction_2 and so on. Of a cache the first
    column is split. Names and labels that nobody knows are left out, those of single rows are empty cells. In CSV a
    text that a spreadsheet would take for a formula, ids too, begins with an apostrophe; Parquet holds every text as it
    is.

    Images must be read as those that the head was made from: a head's file knows and refuses, a checkpoint does not.

    --target-prior turns every probability p into p * target / source, scaled to sum 1, and the prediction is the
    likeliest class by that. Nothing is drawn at random: --seed changes nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("predict runs in one process and would write the same file in each; start it without torchrun")
    answers.check_apart(rows, by, through.checkpoint, answers.target_prior, answers.source_prior)
    began = time.perf_counter()
    with _leaving_nothing(answers.out), _subject(rows, by, answers, reading, through, common) as subject:
        payload = _predict(subject, answers)
    seconds = time.perf_counter() - began
    payload |= {"seconds": round(seconds, 3), "rows_per_second": round(payload["rows"] / seconds, 1)}
    if not emit(payload, as_json=common.as_json):
        _show(payload)
    return payload


@contextmanager
def _subject(
    rows: str, by: str, answers: Answers, reading: Reading, through: Through, common: Common
) -> Iterator[Subject]:
    """What is predicted; UsageError where options of images are given with a cache, or the other way round."""
    from .predicting.cached import is_cache, of_cache
    from .predicting.counted import counted
    from .predicting.pictures import of_images

    if is_cache(rows):
        if through.given or reading.root is not None:
            raise click.UsageError(f"{rows} is a cache, which has its features; --model and --root are for images")
        if answers.cache is not None:
            raise click.UsageError(f"{rows} is a cache and counts its own training rows; --cache is for images")
        yield of_cache(Path(rows), by, reading.split, common)
        return
    if reading.split:
        raise click.UsageError(f"--split {reading.split[0]} is of a cache, and {rows} is none; name the data alone")
    with of_images(rows, by, through, reading, common) as subject:
        yield subject if answers.target_prior is None else counted(subject, by, through, answers.cache)


def _predict(subject: Subject, answers: Answers) -> dict[str, Any]:
    """Write the file; what there is to say of it."""
    from .predicting.priors import offsets_of
    from .predicting.written import Tally, blocks, write

    if answers.top_k > subject.num_classes:
        raise ValueError(f"--top-k {answers.top_k}: there are {subject.num_classes} classes; expected at most as many")
    offsets, source_prior = offsets_of(answers, subject)
    tally = Tally()
    with progress("predict") as update:
        made = blocks(subject, answers.top_k, offsets, tally, update)
        write(answers.out, subject.columns(answers.top_k), made)
    for reason in tally.reasons:
        note(f"rebalance: {clean(reason, 300)}")
    return {
        "predictions": str(answers.out),
        "rows": tally.rows,
        "classes": subject.num_classes,
        "columns": list(subject.columns(answers.top_k)),
        "splits": list(subject.split_names),
        "labelled": sum(tally.labelled.values()),
        "accuracy": _accuracy(tally.accuracy(), subject),
        "marks": {name: list(marks) for name, marks in subject.marks.items()},
        "unreadable": tally.unreadable,
        "target_prior": answers.target_prior,
        "source_prior": source_prior,
        "batch_size": subject.batch_size,
        "transform": subject.reads,
    }


def _accuracy(found: dict[str, float | None], subject: Subject) -> Any:
    """Of images one number; of a cache one a split."""
    return found if subject.split_names else found.get("")


@contextmanager
def _leaving_nothing(out: Path) -> Iterator[None]:
    """An interruption says that the file is not there, or is what it was; a bad image, how to pass over it."""
    from featurecache.unreadable import Unreadable

    before = _state(out)
    try:
        yield
    except KeyboardInterrupt as stop:
        if _state(out) != before:
            stop.add_note(f"{out} is whole all the same")
        else:
            state = "is what it was before" if before else "was not written"
            stop.add_note(f"{out} {state}; to do it: {how_to_go_on()}")
        raise
    except Unreadable as error:
        raise ValueError(f"{error}; or pass over such images with --on-bad-image skip") from error


def _state(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of its name; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _show(payload: dict[str, Any]) -> None:
    """The summary for a person."""
    speed = f"{payload['rows']} rows in {payload['seconds']:.1f} s ({payload['rows_per_second']:.0f} rows/s)"
    click.echo(f"{clean(payload['predictions'], 300)}: {speed}")
    if payload["transform"] is not None:
        click.echo(f"images read as: {clean(payload['transform'], 1000)}")
    if payload["target_prior"] is not None:
        click.echo(f"prior: from {clean(payload['source_prior'], 200)} to {clean(payload['target_prior'], 200)}")
    found = payload["accuracy"]
    said = found.items() if isinstance(found, dict) else [("accuracy", found)]
    for name, value in said:
        if value is not None:
            marks = payload["marks"].get(name)
            doubt = f" ({', '.join(marks)})" if marks else ""
            click.echo(f"{clean(name)}: {percent(value)} % of the labelled rows are right{doubt}")
    if payload["unreadable"]:
        click.echo(f"{payload['unreadable']} rows could not be read; their predictions are empty")
