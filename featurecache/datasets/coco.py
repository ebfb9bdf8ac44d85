"""ImageFiles named by a JSON file of iNaturalist or COCO.

The file is an object with the lists `images` ({id, file_name}), `annotations` ({image_id, category_id}) and
`categories` ({id, name}); all other keys are passed over. iNaturalist's file names start from the folder that holds
train_val_images (2017), train_val2018 (2018) or train and val (2021); COCO's from the folder of the images itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from featurecache.datasets.annotations import Annotation, Category, Records, read_records
from featurecache.datasets.classes import MAX_CLASSES, columns
from featurecache.datasets.images import FilesUnder, ImageFiles, Transform
from featurecache.datasets.paths import checked
from featurecache.quoting import shown

UNLABELLED = -1


def is_json(source: str) -> bool:
    """Whether the source is a .json file."""
    return source.lower().endswith(".json")


def open_json(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The images of a JSON file, in its order; an image without annotations has the label -1.

    Classes are the categories in the order of their ids, which need not be contiguous. Where two share a name, their
    ids are added to it; where one has none, its id is its name.

    source: the .json file.
    transform: PIL image -> float32 (C, H, W).
    root: the folder its file names start from; None: the JSON's own folder.
    class_names: the K names to map the categories' names onto; None: all categories of the file.
    Raises ValueError when the file is not as above, an image has several categories, a file name is bad or a category
        that has images is not in class_names; OSError when it cannot be read.
    """
    records = read_records(Path(source))
    if not records.images:
        raise ValueError(f"{shown(source)} names no images; expected the list 'images' of id and file_name")
    names = _names(source, records.categories)
    category_of = _categories(source, records, names)
    used = set(category_of.values())
    # A category without images needs no column of the model's.
    own = [category for category in names if class_names is None or category in used]
    onto = columns([names[category] for category in own], class_names, source=shown(source))
    column_of = dict(zip(own, onto, strict=True))
    folder = Path(source).parent if root is None else root
    return ImageFiles(
        source,
        checked([image.path for image in records.images], folder, source=shown(source), place=_place),
        [column_of[category_of[image.id]] if image.id in category_of else UNLABELLED for image in records.images],
        list(names.values()) if class_names is None else class_names,
        transform=transform,
        read=FilesUnder(folder),
    )


def _place(index: int) -> str:
    return f"images[{index}]"


def _names(source: str, categories: Sequence[Category]) -> dict[int, str]:
    """Different names of the categories by their ids, which ascend."""
    if len(categories) > MAX_CLASSES:
        raise ValueError(f"{shown(source)} has {len(categories)} categories, expected at most {MAX_CLASSES}")
    found: dict[int, str] = {}
    shared = Counter(category.name for category in categories)
    for category in sorted(categories, key=lambda category: category.id):
        if category.id in found:
            raise ValueError(f"{shown(source)}: two categories have the id {category.id}; give each its own")
        name = category.name
        found[category.id] = f"{name} {category.id}".strip() if shared[name] > 1 or not name else name
        if not name.isascii() and name != name.encode("utf-8", "replace").decode():
            raise ValueError(f"{shown(source)}: category {category.id} has the name {shown(name)}, which is not UTF-8")
    if len(set(found.values())) < len(found):
        raise ValueError(f"{shown(source)}: categories share names even with their ids added; give each its own")
    return found


def _categories(source: str, records: Records, names: Mapping[int, str]) -> dict[int | str, int]:
    """The one category of each image that has one, by the id of the image."""
    indices = {image.id: i for i, image in enumerate(records.images)}
    if len(indices) < len(records.images):
        twice = next(i for i, image in enumerate(records.images) if indices[image.id] != i)
        raise ValueError(
            f"{shown(source)}: images[{twice}] and images[{indices[records.images[twice].id]}] have the same id "
            f"{shown(records.images[twice].id)}; give each its own"
        )
    found: dict[int | str, int] = {}
    for i, annotation in enumerate(records.annotations):
        if fault := _fault(annotation, indices, found, names):
            raise ValueError(f"{shown(source)}: annotations[{i}] {fault}")
        found[annotation.image] = annotation.category
    return found


def _fault(
    annotation: Annotation, indices: Mapping[int | str, int], found: Mapping[int | str, int], names: Mapping[int, str]
) -> str | None:
    image, category = annotation
    if image not in indices:
        return f"is of image {shown(image)}, which is not among the images; take it out"
    if category not in names:
        return f"is of category {category}, which is not among the {len(names)} categories; add it"
    if found.get(image, category) != category:
        both = f"{shown(names[found[image]])} and {shown(names[category])}"
        return f"gives images[{indices[image]}] a second category, {both}; expected one class an image"
    return None
