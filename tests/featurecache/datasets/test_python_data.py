"""Data from the user's own Python file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from featurecache.datasets.images import ImageFiles
from featurecache.datasets.python_data import OwnData, is_file, open_file
from featurecache.datasets.transforms import ImageTransform

CODE = '''
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

class Words(Dataset):
    """Texts of one, two and three letters; the label is the length less 1."""

    texts = ["a", "bc", "def", "gh"]
    sample_ids = ["one", "two", "three", "four"]
    labels = [0, 1, 2, 1]
    class_names = ["short", "medium", "long"]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, row):
        return {"text": self.texts[row]}, torch.tensor(self.labels[row])

    def collate(self, items):
        return {"texts": [item["text"] for item, _ in items]}, torch.tensor([label for _, label in items])

def words():
    return Words()

def numbers(transform):
    return TensorDataset(torch.arange(3.0) if transform is None else transform(3), torch.tensor([2, -1, 0]))

def pairs():
    return [(1, np.int64(0)), [2, np.uint8(7)], (3, 1.0), (4, "x"), 5, (6, -2), (7, torch.zeros(2)), (8, True)]

def stream():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(1, 2)])
    return Stream()

def generator():
    yield 1, 2

def broken():
    raise KeyError("two\\nlines")

def with_labels(labels, **more):
    return type("Own", (Words,), {"labels": labels, **more})()

def shifted(): return with_labels([0, 1, 3, 1])
def matrix(): return with_labels([[0, 1, 2, 1]])
def fewer(): return with_labels([0, 1])
def unlabelled(): return with_labels(np.array([-1, 0, -1, 2], np.int8))
def array(): return with_labels([0] * 4, sample_ids=np.array(list("abcd")))
def few_ids(): return with_labels([0] * 4, sample_ids=["a", "b"])
def same_ids(): return with_labels([0] * 4, sample_ids=["a", "a", "b", "c"])
def same_names(): return with_labels([0] * 4, class_names=["a", "a"])
def one_name(): return with_labels([0] * 4, class_names="ab")
def table(): return with_labels([0] * 4, class_names=np.array([["a", "b"]]))
def no_collate(): return with_labels([0] * 4, collate=3)
'''


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def opened(code: Path, function: str, transform: Any = None, **options: Any) -> Any:
    return open_file(f"file:{code}:{function}", transform=transform, **options)


def test_what_the_data_set_has_is_used(code: Path) -> None:
    words = opened(code, "words")
    assert len(words) == 4
    assert words[2] == ({"text": "def"}, 2)
    assert type(words[2][1]) is int
    assert words.sample_ids == ["one", "two", "three", "four"]
    assert (words.labels.tolist(), words.labels.dtype) == ([0, 1, 2, 1], np.int64)
    assert words.class_names == ("short", "medium", "long")
    batch, labels = next(iter(DataLoader(words, batch_size=3, collate_fn=words.collate)))
    assert (batch, labels.tolist()) == ({"texts": ["a", "bc", "def"]}, [0, 1, 2])


def test_what_it_has_not_is_none(code: Path) -> None:
    numbers = opened(code, "numbers")
    assert (numbers.sample_ids, numbers.labels, numbers.class_names, numbers.collate) == (None,) * 4
    assert [numbers[i] for i in range(3)] == [(0.0, 2), (1.0, -1), (2.0, 0)]
    assert opened(code, "numbers", class_names="abc").class_names == ("a", "b", "c")


def test_texts_may_be_an_array(code: Path) -> None:
    sample_ids = opened(code, "array").sample_ids
    assert sample_ids == ["a", "b", "c", "d"]
    assert {type(sample_id) for sample_id in sample_ids} == {str}


def test_a_function_that_takes_the_transform_gets_it(code: Path) -> None:
    assert opened(code, "numbers", transform=lambda n: torch.full((n,), 7.0))[1] == (7.0, -1)
    assert opened(code, "words", transform=lambda n: n)[0][0] == {"text": "a"}


def test_classes_are_mapped_by_name_and_unlabelled_rows_stay_so(code: Path, refused: Any) -> None:
    words = opened(code, "unlabelled", class_names=["long", "new", "medium", "short"])
    assert words.labels.tolist() == [-1, 3, -1, 0]
    assert [words[i][1] for i in range(4)] == [-1, 3, -1, 0]
    assert words.class_names == ("long", "new", "medium", "short")
    with refused("mine.py:words'", "class 'medium' is not one of the 2 known classes"):
        opened(code, "words", class_names=["short", "long"])


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (2, ["row 2 is no integer: '1.0'"]),
        (3, ["row 3 is no integer: 'x'"]),
        (4, ["item 4 is int, expected (input, label)"]),
        (5, ["row 5 is -2, expected 0, or -1 for none"]),
        (6, ["row 6 is no integer"]),
    ],
)
def test_bad_items_are_refused_by_their_row(code: Path, row: int, parts: list[str], refused: Any) -> None:
    with refused("mine.py:pairs'", *parts):
        opened(code, "pairs")[row]


def test_labels_are_integers_of_any_kind(code: Path, refused: Any) -> None:
    pairs = opened(code, "pairs")
    assert (pairs[0], pairs[1]) == ((1, 0), (2, 7))
    known = opened(code, "pairs", class_names=["a", "b"])
    with refused("the label of row 1 is 7, expected 0 to 1, or -1 for none"):
        known[1]


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("stream", ["returned Stream, expected a data set with a length"]),
        ("generator", ["returned generator, expected a data set with a length"]),
        ("broken", ["failed: KeyError", "lines"]),
        ("with_labels", ["failed: TypeError"]),
        ("shifted", ["the label of row 2 is 3, expected 0 to 2"]),
        ("matrix", ["4 rows and labels of shape (1, 4)"]),
        ("fewer", ["4 rows and labels of shape (2,)"]),
        ("few_ids", ["4 rows and 2 sample_ids"]),
        ("same_ids", ["its sample_ids are not a list of different texts"]),
        ("same_names", ["its class_names are not a list of different texts"]),
        ("table", ["its class_names are not a list of different texts"]),
        ("one_name", ["its class_names are not a list of different texts"]),
        ("no_collate", ["collate is int, expected a function"]),
        ("none", ["data file", "has no function 'none'"]),
    ],
)
def test_what_is_no_data_set_is_refused(code: Path, function: str, parts: list[str], refused: Any) -> None:
    with refused("mine.py", *parts):
        opened(code, function)


def test_a_part_keeps_the_rest(code: Path) -> None:
    part = opened(code, "words").subset([3, 2, 0], "part")
    assert (len(part), part.name, part.sample_ids) == (3, "part", ["four", "three", "one"])
    assert [part[i][1] for i in range(3)] == part.labels.tolist() == [1, 2, 0]
    assert part.subset(np.array([1])).sample_ids == ["three"]
    assert part.subset([1])[0] == ({"text": "def"}, 2)
    assert part.class_names == ("short", "medium", "long")
    assert opened(code, "numbers").subset([2]).sample_ids is None


def test_worker_processes_get_it(code: Path) -> None:
    words = pickle.loads(pickle.dumps(opened(code, "words").subset([1, 2])))
    assert isinstance(words, OwnData)
    loaded = DataLoader(words, batch_size=2, num_workers=1, collate_fn=words.collate)
    assert next(iter(loaded))[0] == {"texts": ["bc", "def"]}


def test_image_files_stay_image_files(tmp_path: Path, refused: Any) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "pets" / name)
    (tmp_path / "pets.py").write_text(
        "from featurecache.datasets import open_images\n"
        f"def pets(): return open_images({str(tmp_path / 'pets')!r}, transform=None)\n"
    )
    source = f"file:{tmp_path}/pets.py:pets"
    images = open_file(source, transform=ImageTransform(4), class_names=["dog", "owl", "cat"])
    assert isinstance(images, ImageFiles)
    assert images.labels.tolist() == [2, 0]
    assert images.class_names == ("dog", "owl", "cat")
    assert images[0][0].shape == (3, 4, 4)
    unchanged = open_file(source, transform=None)
    assert unchanged.labels is not None
    assert unchanged.labels.tolist() == [0, 1]
    with refused("class 'dog' is not one of the 1 known classes"):
        open_file(source, transform=None, class_names=["cat"])


def test_sources_begin_with_the_word() -> None:
    assert [text for text in ("file:a.py:b", "a/file:b", "file") if is_file(text)] == ["file:a.py:b"]
