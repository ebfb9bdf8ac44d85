"""Functions of the user's own Python files."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from featurecache.python_function import failure, file_of, function_of

CODE = """
from dataclasses import dataclass

@dataclass
class Box:
    size: "int" = 2

def make():
    return Box()

number = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "random.py"  # the name of a module of the standard library
    path.write_text(CODE)
    return path


def test_the_function_comes_back_and_what_it_makes_can_be_pickled(code: Path) -> None:
    made = function_of(f"{code}:make", "model")()
    assert pickle.loads(pickle.dumps(made)) == made
    assert not hasattr(sys.modules["random"], "Box")
    assert not (code.parent / "__pycache__").exists()


def test_a_file_is_run_once_until_it_changes(code: Path) -> None:
    first = function_of(f"{code}:make", "model")
    assert function_of(f"{code}:make", "data") is first
    code.write_text(CODE.replace("= 2", "= 3"))  # as long as before, within the same second
    assert function_of(f"{code}:make", "model")().size == 3
    assert pickle.loads(pickle.dumps(first())).size == 2


def test_annotations_stay_what_the_file_says(code: Path) -> None:
    code.write_text("def make(size: int): ...")
    assert function_of(f"{code}:make", "model").__annotations__ == {"size": int}


@pytest.mark.parametrize("name", ["x.py", "x.py:", "x.py:a b", "x.txt:make", ":make", "x.py:make()"])
def test_a_name_of_another_form_is_refused(name: str, refused: Any) -> None:
    with refused(f"data 'file:{name}': expected file:path.py:function"):
        file_of(name, "data")


def test_a_folder_with_colons_is_a_folder() -> None:
    assert file_of("a:b/x.py:make", "data") == (Path("a:b/x.py"), "make")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (CODE, ["data file", "random.py", "has no function 'other'"]),
        ("other = 3", ["has no function 'other'"]),
        ("def broken(:", ["cannot be imported: SyntaxError"]),
        ("a\0b", ["cannot be imported"]),
        ("raise KeyError('two\\nlines')", ["cannot be imported: KeyError", "lines"]),
        ("import no_such_thing", ["cannot be imported: ModuleNotFoundError", "PYTHONPATH"]),
        ("\udcff", ["cannot be imported"]),
    ],
)
def test_a_file_without_the_function_is_refused(code: Path, content: str, parts: list[str], refused: Any) -> None:
    code.write_text(content, errors="surrogateescape")
    with refused(*parts):
        function_of(f"{code}:other", "data")


def test_what_cannot_be_read_is_refused(tmp_path: Path, refused: Any) -> None:
    with refused("model file", "none.py", "does not exist"):
        function_of(f"{tmp_path}/none.py:make", "model")
    os.mkfifo(tmp_path / "pipe.py")
    with refused("pipe.py", "not a regular file"):
        function_of(f"{tmp_path}/pipe.py:make", "model")


def test_a_failure_is_one_short_line() -> None:
    assert failure(KeyError("a\n b")) == "KeyError: 'a\\n b'"
    assert failure(ValueError("a\n b")) == "ValueError: a b"
    assert len(failure(ValueError("x" * 999))) == 300
