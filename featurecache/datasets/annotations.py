"""The records of an iNaturalist or COCO JSON file: what is needed of each, and nothing else in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from featurecache.disk import open_regular
from featurecache.quoting import shown

MAX_BYTES = 1 << 31
# A byte of text may become a hundred of memory; an image and its annotation have two brackets, an outline of COCO two.
MAX_BRACKETS = 1 << 25
MAX_ID = 1 << 63


class Picture(NamedTuple):
    """An image: its id and the path of its file."""

    id: int | str
    path: str


class Annotation(NamedTuple):
    """Which category an image has, both by id."""

    image: int | str
    category: int


class Category(NamedTuple):
    """A class: its id and its name, "" where it has none."""

    id: int
    name: str


@dataclass(frozen=True)
class Records:
    """The three lists of a file, each in its order."""

    images: list[Picture]
    annotations: list[Annotation]
    categories: list[Category]


def read_records(path: Path) -> Records:
    """The records of the file; a list that is not there is empty, except `images`.

    path: UTF-8 JSON of at most MAX_BYTES.
    Raises ValueError, in one line, when it is anything else, a key comes twice in an object, or an id is not an
        integer; OSError when it cannot be read.
    """
    content = _content(path)
    try:
        value = json.loads(content, object_pairs_hook=_object, parse_float=_nothing, parse_constant=_nothing)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(path)}: not readable as JSON ({str(error)[:160]})") from None
    if not isinstance(value, dict) or "images" not in value:
        raise ValueError(
            f"{shown(path)} is neither iNaturalist nor COCO: expected an object with the lists images, annotations and "
            "categories"
        )
    return Records(
        _listed(path, value, "images", _image, "an id and the text file_name"),
        _listed(path, value, "annotations", _annotation, "an image_id and the integer category_id"),
        _listed(path, value, "categories", _category, "the integer id and a text for a name"),
    )


def _content(path: Path) -> str:
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ValueError("it is larger than 2 GiB; write a .txt list of `path label` lines")
            content = file.read()
        if content.count(b"[") + content.count(b"{") > MAX_BRACKETS:
            raise ValueError(f"it has more than {MAX_BRACKETS} brackets; write a .txt list of `path label` lines")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown(path)}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{shown(path)}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """What is kept of an object that was read: two values of an image or an annotation, else all of it.

    Outlines, boxes, licences and places are gone as soon as the object that has them is closed.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    if "file_name" in found and "category_id" not in found:
        return "image", found.get("id"), found["file_name"]
    if "image_id" in found:
        return "annotation", found["image_id"], found.get("category_id")
    return found


def _nothing(_: str) -> None:
    """Fractions, NaN and infinity: no id or name is one."""


def _image(record: Any) -> Picture | None:
    match record:
        case ("image", number, str(path)) if _is_id(number) or type(number) is str:
            return Picture(number, path)
    return None


def _annotation(record: Any) -> Annotation | None:
    match record:
        case ("annotation", image, category) if _is_id(category) and (_is_id(image) or type(image) is str):
            return Annotation(image, category)
    return None


def _category(record: Any) -> Category | None:
    match record:
        case {"id": number} if _is_id(number) and type(name := record.get("name", "")) is str:
            return Category(number, name)
    return None


def _is_id(number: Any) -> bool:
    return type(number) is int and abs(number) < MAX_ID


Record = TypeVar("Record")


def _listed(
    path: Path, value: dict[str, Any], key: str, made: Callable[[Any], Record | None], expected: str
) -> list[Record]:
    found = value.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"{shown(path)}: {key!r} is {type(found).__name__}, expected a list")
    out = []
    for i, record in enumerate(found):
        if (each := made(record)) is None:
            raise ValueError(f"{shown(path)}: {key}[{i}] is bad, expected {expected}")
        out.append(each)
    return out
