"""Icon names: one thing drawn by many designers, as often as they draw it. Test designers drew nothing in training."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from featurecache.datasets import ImageFiles, write_list
from featurecache.datasets.images import FilesUnder

from ..fetching import making, needed, npm, say
from .dividing import NAMES, by_group
from .icon_names import Drawing, drawings, families
from .study_set import NETWORK, StudySet

VERSION = "2.2.535"
FLOOR = 20  # icon sets that draw a thing which is a class
PIXELS = 32
READING = ("--grey", "--image-size", f"{PIXELS}", "--transform", "crop=1", "--augment", "pad", "--no-flip")
STEPS = ("--optimizer", "adamw", "--batch-size", "128", "--amp", "bf16")


def prepare(work: Path) -> StudySet:
    """The set: its drawings as grey pictures, divided by the families of icon sets."""
    folder = work / "data" / "icons"
    if not folder.is_dir():
        needed("resvg_py", "resvg-py", "draws the icons")
        package = npm(work, "@iconify/json", VERSION) / "package"
        with making(folder) as part:
            write_pictures(package, part)
    return StudySet(
        name="icons",
        title="Icon names (natural tail)",
        source=f"npm package @iconify/json {VERSION}: open icon sets of many designers, each under its own licence "
        "(those under GPL or that forbid commercial use, and logos, are left out); drawn at 32 pixels.",
        shots=(20, 100),
        splits={name: str(folder / f"{name}.txt") for name in NAMES},
        root=folder,
        training=("--arch", f"file:{NETWORK}:features_128", *READING, "--epochs", "6", "--lr", "0.004", *STEPS),
        tuning=(*READING, "--epochs", "2", "--lr", "0.002", *STEPS),
    )


def write_pictures(package: Path, folder: Path) -> None:
    """Writes every drawing as images/CLASS/SET--NAME.png, and train.txt, val.txt and test.txt.

    package: the content of @iconify/json.
    """
    common = frequent(drawings(package))
    family = families(package, {drawing.set for drawing in common})
    say(f"icons: drawing {len(common)}")
    seen: set[bytes] = set()
    kept = []
    for drawing in common:
        picture = drawn(drawing)
        digest = hashlib.sha256(picture.tobytes()).digest()
        if picture.getextrema() == (0, 0) or digest in seen:
            continue  # nothing to see without animation, or seen under another name
        seen.add(digest)
        kept.append(drawing)
        path = folder / _place(drawing)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    names = sorted({drawing.shows for drawing in kept})
    labels = np.array([names.index(drawing.shows) for drawing in kept])
    makers = sorted(set(family.values()))
    groups = np.array([makers.index(family[drawing.set]) for drawing in kept])
    images = ImageFiles(
        "icons", [_place(drawing) for drawing in kept], labels, names, transform=None, read=FilesUnder(folder)
    )
    parts = by_group(labels, groups, test=0.25, val=0.1)
    for part, name in enumerate(NAMES):
        write_list(folder / f"{name}.txt", images.subset(np.flatnonzero(parts == part)))


def frequent(found: Sequence[Drawing]) -> list[Drawing]:
    """The drawings whose thing at least FLOOR sets draw."""
    sets: dict[str, set[str]] = defaultdict(set)
    for drawing in found:
        sets[drawing.shows].add(drawing.set)
    return [drawing for drawing in found if len(sets[drawing.shows]) >= FLOOR]


def drawn(drawing: Drawing) -> Image.Image:
    """The drawing in white on black, which is what moved pictures are padded with: grey, PIXELS x PIXELS."""
    import resvg_py  # the other sets do without

    left, top, width, height = drawing.box
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="white" '
        f'width="{PIXELS}" height="{PIXELS}" viewBox="{left} {top} {width} {height}">{drawing.body}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, background="black", skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("L")


def _place(drawing: Drawing) -> str:
    return f"images/{drawing.shows}/{drawing.set}--{drawing.name}.png"
