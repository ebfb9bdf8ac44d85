"""List files: what is written is read again, and every bad line is refused by its number."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache.datasets.images import FilesUnder, ImageFiles
from featurecache.datasets.lists import open_csv_list, open_text_list, write_list


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "sub/c d.jpg"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    return tmp_path / "root"


def text_list(root: Path, content: str | bytes, **options: Any) -> ImageFiles:
    path = root.parent / "list.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_text_list(str(path), transform=None, root=root, **options)


def csv_list(root: Path, content: str, **options: Any) -> ImageFiles:
    path = root.parent / "list.csv"
    path.write_bytes(content.encode())
    return open_csv_list(str(path), transform=None, root=root, **options)


@pytest.mark.parametrize(
    "content", ["b.jpg 1\nsub/c d.jpg\t 3\na.jpg 1\n", "\ufeffb.jpg 1\r\n\n./sub//c d.jpg 3 \na.jpg 1"]
)
def test_lines_are_path_and_label(root: Path, content: str) -> None:
    images = text_list(root, content)
    assert images.sample_ids == ["b.jpg", "sub/c d.jpg", "a.jpg"]
    assert images.labels.tolist() == [1, 3, 1]
    assert images.class_names == ("0", "1", "2", "3")


def test_the_root_is_the_lists_folder_unless_given(root: Path) -> None:
    (root / "here.txt").write_text("a.jpg 0\n")
    images = open_text_list(str(root / "here.txt"), transform=None)
    assert images.read == FilesUnder(root)


def test_comments_name_classes(root: Path) -> None:
    images = text_list(root, "# class 1 red fox\n# any remark\n#another\n# class 3 owl\na.jpg 1\nb.jpg 2\n")
    assert images.class_names == ("0", "red fox", "2", "owl")


def test_named_classes_are_mapped_by_name_others_by_column(root: Path) -> None:
    known = ["owl", "cat", "red fox"]
    named = text_list(root, "# class 0 red fox\n# class 1 owl\na.jpg 0\nb.jpg 1\n", class_names=known)
    assert named.labels.tolist() == [2, 0]
    assert named.class_names == tuple(known)
    assert text_list(root, "a.jpg 0\nb.jpg 1\n", class_names=known).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("a.jpg", ["line 2", "'a.jpg' is not `path label`"]),
        ("a.jpg -1", ["line 2", "label '-1' is not an integer from 0"]),
        ("a.jpg 1.0", ["line 2", "label '1.0'"]),
        ("a.jpg cat", ["line 2", "label 'cat'"]),
        ("a.jpg ١", ["line 2", "label"]),
        ("a.jpg 99999999999", ["line 2", "from 0 to 999999"]),
        ("/etc/passwd 0", ["line 2", "is absolute"]),
        ("../root/a.jpg 0", ["line 2", "climbs out"]),
        ("sub\\a.jpg 0", ["line 2", "backslash"]),
        ("a\0.jpg 0", ["line 2", "control"]),
        ("./b.jpg 3", ["line 2", "'b.jpg' is already in line 1"]),
        ("gone.jpg 0", ["line 2", "'gone.jpg' is not in", "(1 of 2 images are missing)"]),
        ("sub 0", ["line 2", "is not a regular file"]),
        ("# class 0 a\n# class 0 b", ["line 3", "class 0 or its name is given twice"]),
        ("# class 0 a\n# class 1 a", ["line 3", "given twice"]),
        ("# class 9999999 a", ["line 2", "label '9999999'"]),
        ("# class 1 0", ["name one class by another's number"]),
    ],
)
def test_a_bad_line_is_refused_by_its_number(root: Path, line: str, parts: list[str], refused: Any) -> None:
    with refused("list.txt", *parts):
        text_list(root, f"b.jpg 0\n{line}\n")


def test_text_that_is_not_utf8_is_refused_by_its_line(root: Path, refused: Any) -> None:
    with refused("line 2", "not UTF-8"):
        text_list(root, b"a.jpg 0\nb\xff.jpg 0\n")


def test_an_empty_list_and_a_pipe_are_refused(root: Path, refused: Any) -> None:
    with refused("names no images"):
        text_list(root, "# nothing\n\n")
    os.mkfifo(root / "pipe.txt")
    with refused("pipe.txt", "not a regular file"):
        open_text_list(str(root / "pipe.txt"), transform=None)


def test_a_link_out_of_the_root_is_refused(root: Path, refused: Any) -> None:
    (root.parent / "secret.jpg").touch()
    (root / "link.jpg").symlink_to(root.parent / "secret.jpg")
    with refused("line 1", "out of the root"):
        text_list(root, "link.jpg 0\n")


@pytest.mark.parametrize("names", [["x"], ["x", "y"]])
def test_a_label_beyond_the_known_classes_is_refused(root: Path, names: list[str], refused: Any) -> None:
    with refused("line 1", f"label '2' is not one of the {len(names)} known classes"):
        text_list(root, "a.jpg 2\n", class_names=names)


def test_csv_labels_are_numbers_or_names(root: Path) -> None:
    numbers = csv_list(root, 'note,path,label\n"x,y",a.jpg,2\n,"sub/c d.jpg",0\n')
    assert (numbers.labels.tolist(), numbers.class_names) == ([2, 0], ("0", "1", "2"))
    names = csv_list(root, "path,label\na.jpg,owl\nb.jpg,cat\n")
    assert (names.labels.tolist(), names.class_names) == ([1, 0], ("cat", "owl"))


@pytest.mark.parametrize(
    "header", ["filename,label", "file_name,class", "path,class", "path,label,class", "filename,class"]
)
def test_csv_columns_of_other_names(root: Path, header: str) -> None:
    images = csv_list(root, f"{header},note\na.jpg,owl,x,y\nb.jpg,cat,x,y\n")
    assert (images.sample_ids, images.labels.tolist()) == (["a.jpg", "b.jpg"], [1, 0])


def test_a_name_of_two_columns_is_refused(root: Path, refused: Any) -> None:
    with refused("list.csv", "class 'crane' is the name of both column 0 and column 2"):
        csv_list(root, "path,label\na.jpg,crane\n", class_names=["crane", "owl", "crane"])


def test_a_class_missing_in_a_split_keeps_its_column(root: Path) -> None:
    known = [str(k) for k in range(5)]
    for images in (
        text_list(root, "a.jpg 1\n", class_names=known),
        csv_list(root, "path,label\na.jpg,1\n", class_names=known),
    ):
        assert images.class_names == tuple(known)
        assert images.labels.tolist() == [1]


def test_csv_names_are_mapped(root: Path) -> None:
    assert csv_list(root, "path,label\na.jpg,owl\n", class_names=["cat", "owl"]).labels.tolist() == [1]
    assert csv_list(root, "path,label\na.jpg,1\n", class_names=["cat", "owl"]).labels.tolist() == [1]
    # Class folders are often called by numbers that are not their columns: names go before columns.
    assert csv_list(root, "path,label\na.jpg,1\n", class_names=["1", "10", "2"]).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("file,label\na.jpg,0\n", ["line 1", "expected the columns path and label", "file,label"]),
        ("path,tag\na.jpg,0\n", ["line 1", "expected the columns path and label", "path,tag"]),
        ("filename,file_name,label\na.jpg,b.jpg,0\n", ["line 1", "once each; found 'filename,file_name,label'"]),
        ("Path,Label\na.jpg,0\n", ["line 1", "found 'Path,Label'"]),
        ("path,path,label\na.jpg,b.jpg,0\n", ["line 1"]),
        ("", ["line 1"]),
        ("path,label\n", ["names no images"]),
        ("path,label\na.jpg\n", ["line 2", "empty"]),
        ("path,label\na.jpg,0\n,1\n", ["line 3", "empty"]),
        ("path,label\na.jpg,0\n../x.jpg,1\n", ["line 3", "climbs out"]),
        ('path,label\n"a.jpg"x,0\n', ["line 2", "not CSV"]),
    ],
)
def test_bad_csv_is_refused(root: Path, content: str, parts: list[str], refused: Any) -> None:
    with refused("list.csv", *parts):
        csv_list(root, content)


def test_a_csv_name_that_is_not_known_is_refused(root: Path, refused: Any) -> None:
    with refused("line 2", "label 'yak'"):
        csv_list(root, "path,label\na.jpg,yak\n", class_names=["cat", "owl"])


# Anything a file can be called on the disk below, apart from what lists refuse.
PARTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1, max_size=12)
NAMES = st.lists(PARTS.filter(lambda p: p not in (".", "..") and p[-1] != " "), unique=True, min_size=1)


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).map(str.strip).filter(bool)


@settings(max_examples=60)
@given(
    NAMES,
    st.lists(TEXTS, unique=True, min_size=1),
    st.data(),
)
def test_a_written_list_is_read_again(names: list[str], classes: list[str], data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, len(classes) - 1), min_size=len(names), max_size=len(names)))
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder) / "root", Path(folder) / "list.txt"
        root.mkdir()
        for name in names:
            (root / name).touch()
        images = ImageFiles("x", names, labels, classes, transform=None, read=FilesUnder(root))
        write_list(path, images)
        again = open_text_list(str(path), transform=None, root=root)
    assert again.sample_ids == names
    assert again.labels.tolist() == labels
    assert again.class_names == tuple(classes)


@pytest.mark.parametrize(
    ("name", "class_name", "part"),
    [
        ("a .jpg ", "x", "ends in a blank"),
        ("a\nb.jpg", "x", "control"),
        ("a\\b.jpg", "x", "backslash"),
        ("a.jpg", "x ", "class name 'x '"),
        ("a.jpg", "x\ny", "class name"),
        ("a.jpg", "", "class name ''"),
        ("a.jpg", "\udcff", "class name"),
    ],
)
def test_what_a_list_cannot_hold_is_not_written(
    tmp_path: Path, name: str, class_name: str, part: str, refused: Any
) -> None:
    images = ImageFiles("x", [name], [0], [class_name], transform=None, read=FilesUnder(tmp_path))
    with refused(part):
        write_list(tmp_path / "list.txt", images)
    assert list(tmp_path.iterdir()) == []


def test_images_without_labels_are_not_written(tmp_path: Path, refused: Any) -> None:
    images = ImageFiles("some", ["a.jpg", "b.jpg"], [0, -1], ["x"], transform=None, read=FilesUnder(tmp_path))
    with refused("'some': 1 images have no label"):
        write_list(tmp_path / "list.txt", images)
