"""ImageFiles named by a list: a text file of `path label` lines, or a CSV file with columns of paths and labels.

The text format is that of ImageNet_LT_train.txt: UTF-8, one image a line, spaces or tabs before the label, the label
last so that paths may hold spaces, and paths relative to a root. Lines may start with `#`: they are comments, and
`# class 3 red fox` names column 3. Readers that know no comments need those lines taken out (`grep -v '^#'`).
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from featurecache.datasets.classes import MAX_CLASSES, columns
from featurecache.datasets.images import FilesUnder, ImageFiles, Transform
from featurecache.datasets.paths import checked, unsafe
from featurecache.disk import open_regular
from featurecache.quoting import shown

MAX_BYTES = 1 << 30
PATH_COLUMNS = ("path", "filename", "file_name")
LABEL_COLUMNS = ("label", "class")
CLASS_LINE = re.compile(r"# class ([0-9]{1,9}) (.*\S)")
ENTRY_LINE = re.compile(r"(.*[^ \t])[ \t]+([^ \t]+)")
INTEGER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Entry:
    """One image of a list: its line, its path and its label as written."""

    line: int
    path: str
    label: str


def is_text_list(source: str) -> bool:
    """Whether the source is a .txt list."""
    return source.lower().endswith(".txt")


def is_csv_list(source: str) -> bool:
    """Whether the source is a .csv list."""
    return source.lower().endswith(".csv")


def open_text_list(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The images of a `path label` list, in its order.

    source: the .txt file.
    transform: PIL image -> float32 (C, H, W).
    root: the folder its paths start from; None: the list's own folder.
    class_names: the K names; a list that names its classes is mapped onto them by name, any other by column. None:
        columns 0 to the largest label, named as the list says or by their number.
    Raises ValueError naming the line when a line, a label or a path is bad, OSError when the list cannot be read.
    """
    entries: list[Entry] = []
    named: dict[int, str] = {}
    for number, line in enumerate(_text(Path(source)).split("\n"), 1):
        line = line.rstrip("\r \t")
        if comment := CLASS_LINE.fullmatch(line):
            column = _column(comment[1], source, number)
            if column in named or comment[2] in named.values():
                raise ValueError(f"{shown(source)} line {number}: class {column} or its name is given twice")
            named[column] = comment[2]
        elif line and not line.startswith("#"):
            entry = ENTRY_LINE.fullmatch(line)
            if entry is None:
                raise ValueError(f"{shown(source)} line {number}: {shown(line)} is not `path label`")
            entries.append(Entry(number, entry[1], entry[2]))
    labels = [_column(entry.label, source, entry.line) for entry in entries]
    names = [named.get(k, str(k)) for k in range(max([*labels, *named], default=-1) + 1)]
    if len(set(names)) < len(names):
        raise ValueError(f"{shown(source)}: its `# class` lines name one class by another's number; name all classes")
    if class_names is not None and named:
        used = sorted({*labels, *named})
        onto = columns([names[k] for k in used], class_names, source=shown(source))
        column_of = dict(zip(used, onto, strict=True))
        labels = [column_of[label] for label in labels]
    return _images(source, entries, labels, names, class_names, transform, root)


def open_csv_list(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The images of a CSV file with one of PATH_COLUMNS and one of LABEL_COLUMNS, in its order; others are passed over.

    Labels are class names where all of them are among class_names; else columns where all are integers; else, without
    class_names, class names, sorted.

    source: the .csv file.
    transform, root, class_names: as for a text list.
    Raises ValueError naming the line when a line, a label or a path is bad, OSError when the list cannot be read.
    """
    entries = list(_rows(source))
    texts = {entry.label for entry in entries}
    if class_names is not None and texts.issubset(class_names):
        ordered = sorted(texts)
        column_of = dict(zip(ordered, columns(ordered, class_names, source=shown(source)), strict=True))
        labels = [column_of[entry.label] for entry in entries]
        names = list(class_names)
    elif class_names is not None or all(INTEGER.fullmatch(text) for text in texts):
        labels = [_column(entry.label, source, entry.line) for entry in entries]
        names = [str(k) for k in range(max(labels, default=-1) + 1)]
    else:
        names = sorted(texts)
        column_of = {name: k for k, name in enumerate(names)}
        labels = [column_of[entry.label] for entry in entries]
    return _images(source, entries, labels, names, class_names, transform, root)


def write_list(path: Path, images: ImageFiles) -> None:
    """Writes list_text to a .txt file."""
    path.write_text(list_text(images), encoding="utf-8", newline="\n")


def list_text(images: ImageFiles) -> str:
    """The images as a `path label` list that names all classes.

    Files are found again with the root they have now; what is no file, as rows of their source (`SOURCE:only=LIST`).

    images: of any source; a part of them through images.subset(rows).
    Raises ValueError when a path or class name cannot stand in a list, or an image has no label.
    """
    if unlabelled := np.count_nonzero(images.labels < 0):
        raise ValueError(f"{shown(images.name)}: {unlabelled} images have no label, so no list can name them")
    lines = [f"# class {k} {name}" for k, name in enumerate(images.class_names)]
    for line, name in zip(lines, images.class_names, strict=True):
        if not (match := CLASS_LINE.fullmatch(line)) or match[2] != name or not _plain(name):
            raise ValueError(f"class name {shown(name)} cannot stand in a list: it starts or ends blank or spans lines")
    for sample_id, label in zip(images.sample_ids, images.labels, strict=True):
        # Paths are normalised when read, so ./ shields a first character that would make the line a comment.
        written = f"./{sample_id}" if sample_id.startswith("#") else sample_id
        if (reason := unsafe(sample_id)) or sample_id.endswith(" ") or not _plain(sample_id):
            raise ValueError(f"image {shown(sample_id)} cannot stand in a list: it {reason or 'ends in a blank'}")
        lines.append(f"{written} {label}")
    return "\n".join(lines) + "\n"


def listed_ids(path: Path) -> list[str]:
    """The names in a `name label` list, as they are written; ValueError naming the line that is none."""
    names = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        line = line.rstrip("\r \t")
        if line and not line.startswith("#"):
            entry = ENTRY_LINE.fullmatch(line)
            if entry is None:
                raise ValueError(f"{shown(path)} line {number}: {shown(line)} is not `name label`")
            names.append(posixpath.normpath(entry[1]))
    return names


def _images(
    source: str,
    entries: Sequence[Entry],
    labels: Sequence[int] | npt.NDArray[np.int64],
    names: Sequence[str],
    class_names: Sequence[str] | None,
    transform: Transform | None,
    root: Path | None,
) -> ImageFiles:
    if not entries:
        raise ValueError(f"{shown(source)} names no images; expected `path label` lines")
    if class_names is not None:
        for entry, label in zip(entries, labels, strict=True):
            if label >= len(class_names):
                raise ValueError(
                    f"{shown(source)} line {entry.line}: label {shown(entry.label)} is not one of the "
                    f"{len(class_names)} known classes; expected 0 to {len(class_names) - 1}, or a known name"
                )
    folder = Path(source).parent if root is None else root
    paths = [entry.path for entry in entries]
    sample_ids = checked(paths, folder, source=shown(source), place=lambda i: f"line {entries[i].line}")
    known = names if class_names is None else class_names
    return ImageFiles(source, sample_ids, labels, known, transform=transform, read=FilesUnder(folder))


def _rows(source: str) -> Iterator[Entry]:
    reader = csv.DictReader(io.StringIO(_text(Path(source)), newline=""), strict=True)
    try:
        header = reader.fieldnames or ()
        path_column, label_column = _header(PATH_COLUMNS, header, source), _header(LABEL_COLUMNS, header, source)
        for row in reader:
            path, label = row[path_column], (row[label_column] or "").strip()
            if not path or not label:
                raise ValueError(
                    f"{shown(source)} line {reader.line_num}: {path_column} or {label_column} is empty; fill it in"
                )
            yield Entry(reader.line_num, path, label)
    except csv.Error as error:
        raise ValueError(f"{shown(source)} line {reader.reader.line_num}: not CSV: {error}") from None


def _header(names: Sequence[str], header: Sequence[str], source: str) -> str:
    """The one column that is called so; path and label themselves are never in doubt."""
    found = [name for name in header if name in names]
    if found.count(names[0]) == 1:
        return names[0]
    if len(found) != 1:
        raise ValueError(
            f"{shown(source)} line 1: expected the columns path and label (or {', '.join(PATH_COLUMNS[1:])} and "
            f"{', '.join(LABEL_COLUMNS[1:])}), once each; found {shown(','.join(header))}"
        )
    return found[0]


def _text(path: Path) -> str:
    """The whole file, decoded. Raises ValueError when it is no regular file, too large or not UTF-8."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ValueError("it is larger than 1 GiB")
            content = file.read()
    except ValueError as error:
        raise ValueError(f"list {shown(path)}: {error}; expected a file that names images and labels") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{shown(path)} line {line}: not UTF-8; save the list as UTF-8") from None


def _column(text: str, source: str, line: int) -> int:
    if not INTEGER.fullmatch(text) or int(text) >= MAX_CLASSES:
        raise ValueError(
            f"{shown(source)} line {line}: label {shown(text)} is not an integer from 0 to {MAX_CLASSES - 1}"
        )
    return int(text)


def _plain(text: str) -> bool:
    return not any(c in text for c in "\r\n\0") and text == text.encode("utf-8", "replace").decode()
