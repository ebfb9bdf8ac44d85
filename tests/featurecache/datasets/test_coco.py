"""JSON files of iNaturalist and COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featurecache.datasets.coco import is_json, open_json
from featurecache.datasets.images import FilesUnder, ImageFiles, missing_classes


@pytest.fixture
def birds(tmp_path: Path) -> dict[str, Any]:
    """Three images of two of three categories, whose ids leave gaps."""
    for name in ("train/Aves/2/a.jpg", "train/Aves/2/b.jpg", "train/Fungi/9/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return {
        "info": {"year": 2018, "score": 0.5},
        "images": [
            {"id": 30, "file_name": "train/Fungi/9/c.jpg", "width": 800, "latitude": None, "rights_holder": "Ä"},
            {"id": 10, "file_name": "train/Aves/2/b.jpg"},
            {"id": 20, "file_name": "./train/Aves//2/a.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 2, "bbox": [0.0, 1.5, 2, 3], "segmentation": [[1.0, 2.0]]},
            {"id": 2, "image_id": 30, "category_id": 9},
            {"id": 3, "image_id": 20, "category_id": 2},
            {"id": 4, "image_id": 20, "category_id": 2},
        ],
        "categories": [
            {"id": 9, "name": "fly agaric", "supercategory": "Fungi"},
            {"id": 2, "name": "wren", "supercategory": "Aves"},
            {"id": 5, "name": "owl", "supercategory": "Aves"},
        ],
    }


def opened(folder: Path, value: Any, **options: Any) -> ImageFiles:
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "data.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    return open_json(str(folder / "data.json"), transform=None, **options)


def test_categories_are_columns_by_ascending_id(tmp_path: Path, birds: dict[str, Any]) -> None:
    images = opened(tmp_path, birds)
    assert images.class_names == ("wren", "owl", "fly agaric")
    assert images.sample_ids == ["train/Fungi/9/c.jpg", "train/Aves/2/b.jpg", "train/Aves/2/a.jpg"]
    assert images.labels.tolist() == [2, 0, 0]
    assert images.read == FilesUnder(tmp_path)
    assert missing_classes(images) == [1]


def test_a_root_and_ids_that_are_texts(tmp_path: Path, birds: dict[str, Any]) -> None:
    for image in birds["images"]:
        image["file_name"] = image["file_name"].removeprefix("./").removeprefix("train/")
        image["id"] = f"picture {image['id']}"
    for annotation in birds["annotations"]:
        annotation["image_id"] = f"picture {annotation['image_id']}"
    images = opened(tmp_path, birds, root=tmp_path / "train")
    assert images.labels.tolist() == [2, 0, 0]
    assert images.read == FilesUnder(tmp_path / "train")


def test_images_without_annotations_have_no_label(tmp_path: Path, birds: dict[str, Any]) -> None:
    del birds["annotations"][1]
    assert opened(tmp_path, birds).labels.tolist() == [-1, 0, 0]
    test = {"images": birds["images"]}
    assert opened(tmp_path, test).labels.tolist() == [-1, -1, -1]
    assert opened(tmp_path, test).class_names == ()
    assert opened(tmp_path, test, class_names=["wren"]).class_names == ("wren",)


def test_known_classes_are_found_by_name(tmp_path: Path, birds: dict[str, Any], refused: Any) -> None:
    # The file's third category has no image and need not be known.
    images = opened(tmp_path, birds, class_names=["fly agaric", "yak", "wren"])
    assert images.labels.tolist() == [0, 2, 2]
    assert images.class_names == ("fly agaric", "yak", "wren")
    with refused("data.json", "class 'fly agaric' is not one of the 2 known classes"):
        opened(tmp_path, birds, class_names=["wren", "owl"])


def test_shared_and_missing_names_get_their_ids(tmp_path: Path, birds: dict[str, Any], refused: Any) -> None:
    birds["categories"][0]["name"] = birds["categories"][2]["name"] = "wren"
    assert opened(tmp_path, birds).class_names == ("wren 2", "wren 5", "wren 9")
    for category in birds["categories"]:
        del category["name"]
    assert opened(tmp_path, birds).class_names == ("2", "5", "9")
    birds["categories"] = [{"id": k, "name": n} for k, n in ((2, "x"), (9, "x"), (5, "x 9"))]
    with refused("categories share names even with their ids added"):
        opened(tmp_path, birds)


@pytest.mark.parametrize(
    ("place", "change", "parts"),
    [
        (("images", 1), {"id": 30}, ["images[0] and images[1] have the same id '30'"]),
        (("images", 2), {"file_name": "train/Aves/2/b.jpg"}, ["images[2]", "is already in images[1]"]),
        (("images", 2), {"file_name": "../x.jpg"}, ["images[2]", "climbs out"]),
        (("images", 2), {"file_name": "/etc/passwd"}, ["images[2]", "is absolute"]),
        (("images", 2), {"file_name": "a\\b.jpg"}, ["images[2]", "backslash"]),
        (("images", 2), {"file_name": ""}, ["images[2]", "is empty"]),
        (("images", 2), {"file_name": "\ud800.jpg"}, ["images[2]", "is not UTF-8"]),
        (("images", 2), {"file_name": "link.jpg"}, ["images[2]", "out of the root through a link"]),
        (("images", 2), {"file_name": "train"}, ["images[2]", "is not a regular file"]),
        (("images", 2), {"file_name": "x.jpg"}, ["images[2]", "(1 of 3 images are missing)", "--root"]),
        (("annotations", 0), {"image_id": 11}, ["annotations[0] is of image '11'", "not among the images"]),
        (("annotations", 0), {"category_id": 3}, ["annotations[0] is of category 3", "not among the 3 categories"]),
        (("annotations", 3), {"category_id": 9}, ["gives images[2] a second category, 'wren' and 'fly agaric'"]),
        (("categories", 0), {"id": 2}, ["two categories have the id 2"]),
        (("categories", 0), {"name": "\ud800"}, ["category 9 has the name", "not UTF-8"]),
    ],
)
def test_bad_entries_are_refused_by_their_place(
    tmp_path: Path,
    birds: dict[str, Any],
    place: tuple[str, int],
    change: dict[str, Any],
    parts: list[str],
    refused: Any,
) -> None:
    (tmp_path.parent / f"{tmp_path.name}.jpg").touch()
    (tmp_path / "link.jpg").symlink_to(tmp_path.parent / f"{tmp_path.name}.jpg")
    birds[place[0]][place[1]] |= change
    with refused("data.json", *parts):
        opened(tmp_path, birds)


def test_no_images_at_all(tmp_path: Path, refused: Any) -> None:
    with refused("data.json' names no images"):
        opened(tmp_path, {"images": []})


def test_sources_end_in_json() -> None:
    assert [text for text in ("a/x.json", "A.JSON", "json", "x.json/y") if is_json(text)] == ["a/x.json", "A.JSON"]
