"""A .pt2 file: what was written comes back, PyTorch opens it alone, and what would be unpickled is refused."""

from __future__ import annotations

import errno
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.exporting.archive import open_archive, write_archive
from featurecache.exporting.tracing import traced

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Linear]:
    """A file and the module in it."""
    path, module = tmp_path_factory.mktemp("archive") / "linear.pt2", nn.Linear(3, 2)
    write_archive(traced(module, torch.zeros(2, 3)), path, {"class_names": ["cät", "dog"]})
    return path, module


def test_what_was_written_comes_back(written: tuple[Path, nn.Linear]) -> None:
    path, module = written
    found, inputs = open_archive(path), torch.randn(300, 3)
    assert (found.row, found.about) == ((3,), {"class_names": ["cät", "dog"]})
    with torch.no_grad():
        # Blocks of another length are added up in another order.
        torch.testing.assert_close(found(inputs), module(inputs), rtol=1e-6, atol=1e-6)


def test_it_runs_where_nothing_but_pytorch_is(written: tuple[Path, nn.Linear], tmp_path: Path) -> None:
    path, module = written
    code = (
        "import json, sys, torch\n"
        "files = {'about.json': ''}\n"
        "program = torch.export.load(sys.argv[1], extra_files=files).module()\n"
        "print(json.dumps([program(torch.ones(7, 3)).tolist(), json.loads(files['about.json'])]))\n"
        "assert not {'featurecache', 'rebalance'} & {name.split('.')[0] for name in sys.modules}\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    logits, about = json.loads(run.stdout)
    torch.testing.assert_close(torch.tensor(logits), module(torch.ones(7, 3)).detach())
    assert about == {"class_names": ["cät", "dog"]}


def test_no_name_of_the_file_or_the_machine_is_in_it(written: tuple[Path, nn.Linear]) -> None:
    with zipfile.ZipFile(written[0]) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
        assert not [name for name in archive.namelist() if "linear" in name]
    for text in (b"site-packages", b"featurecache", str(written[0].parent).encode(), b".py"):
        assert text not in content


class Marking:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def changed(source: Path, out: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> Path:
    """The archive with other contents; None leaves an entry out. more: further entries, __ for a slash."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if (content := change(name, old.read(name))) is not None:
                new.writestr(name, content)
        for name, content in more.items():
            new.writestr(f"archive/{name.replace('__json', '.json').replace('__', '/')}", content)
    return out


def test_a_copy_is_opened(written: tuple[Path, nn.Linear], tmp_path: Path) -> None:
    open_archive(changed(written[0], tmp_path / "x.pt2", lambda name, content: content))


@pytest.mark.parametrize("place", ["weights", "constants", "sample_inputs", "beside"])
def test_a_pickle_is_refused_and_never_read(
    place: str, written: tuple[Path, nn.Linear], tmp_path: Path, refused: Refused
) -> None:
    marker = tmp_path / "marker"
    attack = pickle.dumps(Marking(marker))
    meta = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}

    def change(name: str, content: bytes) -> bytes:
        if name.endswith(f"model_{place}_config.json"):
            return json.dumps({"config": {"model.weight": meta}}).encode()
        if name.endswith("weight_0") or (place == "sample_inputs" and name.endswith("model.pt")):
            return attack
        return content

    more = {"data__constants__custom_obj_0": attack} if place == "beside" else {}
    path = changed(written[0], tmp_path / "x.pt2", change, **more)
    with refused("x.pt2", error=ValueError):
        open_archive(path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(
    written: tuple[Path, nn.Linear], tmp_path: Path, refused: Refused
) -> None:
    with refused("two entries in it have one name"):
        open_archive(changed(written[0], tmp_path / "x.pt2", lambda _, content: content, models__model__json=b"{}"))


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('touch marker')", "open('marker', 'w')", "Symbol('s0', positive=exit())", "s.x", 3],
)
def test_a_size_that_is_code_is_refused(
    text: Any, written: tuple[Path, nn.Linear], tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: text if key == "expr_str" else put(item) for key, item in value.items()}
        return [put(item) for item in value] if isinstance(value, list) else value

    def change(name: str, content: bytes) -> bytes:
        return json.dumps(put(json.loads(content))).encode() if name.endswith("models/model.json") else content

    with refused("a size in it is", "expected a number"):
        open_archive(changed(written[0], tmp_path / "x.pt2", change))
    assert not (tmp_path / "marker").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_of_its_own() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_archive(traced(nn.Linear(300, 200), torch.zeros(2, 300)), Path("/dev/full"), {})
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("lost", ["about.json", "model.json", "weight_0", "weights_config.json"])
def test_a_file_with_a_part_missing_is_refused(
    lost: str, written: tuple[Path, nn.Linear], tmp_path: Path, refused: Refused
) -> None:
    with refused("program ", "x.pt2", "cannot be read"):
        open_archive(changed(written[0], tmp_path / "x.pt2", lambda n, c: None if n.endswith(lost) else c))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with refused("x.pt2", "cannot be read"):
        open_archive(tmp_path / "x.pt2")
    with pytest.raises(FileNotFoundError):
        open_archive(tmp_path / "no.pt2")
