"""The arrays of a .npz file that are small enough to lie in memory, never unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from featurecache.convert.blocks import check_inflation
from featurecache.convert.npy import Header, read_header
from featurecache.convert.npz import END, LOCATOR, MAX_DIRECTORY, MAX_MEMBERS
from featurecache.disk import open_regular
from featurecache.quoting import shown

ARRAY = ".npy"


class Archive:
    """A .npz file: what it holds, and each array when it is asked for.

    path: of the file. shapes: of its arrays of numbers and text, by name. unreadable: the other arrays' names -> why.
    ValueError when it is damaged, would inflate beyond measure, or holds something else than arrays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.unreadable: dict[str, str] = {}
        with open_regular(path) as file:
            size = _check_end(file)
            with _opened(file) as archive:
                infos = archive.infolist()
                _check_members(infos)
                check_inflation(sum(info.file_size for info in infos), size, path)
                for info in infos:
                    self._list(archive, info)

    def read(self, name: str) -> NDArray[np.generic]:
        """An array, C-ordered and in this machine's byte order; ValueError when it is damaged."""
        if name in self.unreadable:
            raise ValueError(f"array {shown(name)} {self.unreadable[name]}")
        with open_regular(self.path) as file, _opened(file) as archive:
            try:
                with archive.open(name + ARRAY) as stream:
                    header = read_header(stream)
                    data = stream.read(header.nbytes)
                    rest = stream.read(1)  # at its end the checksum is compared
            except Exception as error:  # BadZipFile, zlib.error, EOFError, OSError, RuntimeError, struct.error ...
                raise ValueError(_damaged(error)) from None
        if len(data) != header.nbytes or rest:
            raise ValueError(f"array {shown(name)} has not the {header.nbytes} bytes that its header says")
        return _shaped(data, header)

    def _list(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        name = info.filename.removesuffix(ARRAY)
        try:
            with archive.open(info) as stream:
                self.shapes[name] = read_header(stream).shape
        except ValueError as error:
            self.unreadable[name] = str(error)
        except Exception as error:
            raise ValueError(_damaged(error)) from None


def _shaped(data: bytes, header: Header) -> NDArray[np.generic]:
    values = np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
    return np.ascontiguousarray(values).astype(header.dtype.newbyteorder("=")).reshape(header.shape)


def _check_end(file: BinaryIO) -> int:
    """The file's size; ValueError unless it ends as an archive does whose list of arrays cannot fill the memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END.size - LOCATOR.size))
    tail = file.read()
    end = tail[-END.size :]
    if len(end) < END.size or not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise ValueError("no .npz file, or one that is cut short; get or make it again")
    if tail.startswith(b"PK\6\7") or END.unpack(end)[5] > MAX_DIRECTORY:
        raise ValueError("its list of arrays is larger than that of any head; expected a weight and a bias")
    return size


def _opened(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except Exception as error:
        raise ValueError(_damaged(error)) from None


def _check_members(infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MAX_MEMBERS or len({info.filename for info in infos}) != len(infos):
        raise ValueError(f"{len(infos)} arrays, or two of one name; expected a weight and a bias")
    for info in infos:
        if not info.filename.endswith(ARRAY):
            raise ValueError(f"{shown(info.filename)} in it is no .npy file; expected what np.savez writes")
        # Other methods inflate without a bound on what they return.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"array {shown(info.filename)} is neither stored nor deflated")


def _damaged(error: Exception) -> str:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return f"a damaged .npz file ({shown(reason)}); get or make it again"
