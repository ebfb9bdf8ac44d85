""".npz files: a zip archive of arrays, read as a stream and never unpickled."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from featurecache.convert.blocks import as_block, block_rows, check_inflation
from featurecache.convert.columns import Block, find_columns, would_be
from featurecache.convert.npy import MAX_HEADER, Header, read_header, write_header
from featurecache.convert.rows import columns_of, cut
from featurecache.disk import open_regular, replacing
from featurecache.layout import shown as shown_path
from featurecache.quoting import shown
from featurecache.reader import FeatureCache

END, END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")  # the last record; the one of archives over 4 GiB
LOCATOR = struct.Struct("<4sLQL")  # between the two
MAX_DIRECTORY, MAX_MEMBERS = 2**20, 1000
SAVED = ("features", "logits", "labels", "index", "sample_id", "view")


@dataclass(frozen=True)
class Member:
    """An array in the archive: where it lies, and what it is."""

    info: zipfile.ZipInfo
    header: Header


def matches(path: Path) -> bool:
    """Whether it is a .npz file, by its name."""
    return path.suffix.lower() == ".npz" and not path.is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of the arrays in a .npz file.

    path: features (N, D), and where it has them labels (N,), logits (N, K), sample_id (N,). names: our names -> its.
    ValueError when it is damaged, holds no arrays of numbers or text, or would inflate beyond measure.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
        except ValueError as error:
            raise ValueError(f"{shown_path(path)}: {error}") from None
        size = file.seek(0, 2)
        _check_directory(file, size, path)
        with _damage(path):
            archive = stack.enter_context(zipfile.ZipFile(file))
        members = _members(archive, names, path)
        chosen = find_columns({name: member.header.shape for name, member in members.items()}, names, path)
        picked = {ours: members[theirs] for ours, theirs in chosen.items()}
        _check_sizes(picked, size, path)
        streams = {ours: stack.enter_context(_opened(archive, member, path)) for ours, member in picked.items()}
        rows = picked["features"].header.shape[0]
        step = block_rows(sum(member.header.nbytes // rows for member in picked.values()))
        for start in range(0, rows, step):
            taken = min(step, rows - start)
            yield as_block({ours: _take(streams[ours], picked[ours].header, taken, path) for ours in picked}, path)
        for stream in streams.values():
            with _damage(path):
                stream.read(1)  # at its end the checksum is compared


def save(cache: FeatureCache, folder: Path) -> list[Path]:
    """A file a split, uncompressed: features, logits, labels, index, sample_id, and the head's weight and bias."""
    made = []
    for name, split in cache.items():
        target = folder / f"{name}.npz"
        columns = {key: values for key, values in columns_of(split).items() if key in SAVED}
        with replacing(target) as part, zipfile.ZipFile(part, "w") as archive:
            for key, values in columns.items():
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as stream:
                    write_header(stream, values.shape, values.dtype)
                    for block in cut({key: values, "index": split.index}):
                        stream.write(np.ascontiguousarray(block[key]).tobytes())
            for key, tensor in zip(("weight", "bias"), cache.head if cache.has_head else (), strict=False):
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as stream:
                    write_header(stream, tuple(tensor.shape), np.dtype("<f4"))
                    stream.write(tensor.contiguous().numpy().tobytes())
        made.append(target)
    return made


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever the zip library says of a damaged archive, as one line."""
    try:
        yield
    except Exception as error:  # BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error ...
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(f"{shown_path(path)}: a damaged .npz file ({shown(reason)}); get or make it again") from None


def _check_directory(file: BinaryIO, size: int, path: Path) -> None:
    """Refuse an archive whose directory alone would fill the memory."""
    file.seek(max(0, size - END.size - LOCATOR.size - END64.size))
    tail = file.read()
    end = tail[-END.size :]
    if len(end) < END.size or not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise ValueError(f"{shown_path(path)}: no .npz file, or one that is cut short; get or make it again")
    directory = END.unpack(end)[5]
    record, locator = tail[: END64.size], tail[END64.size : -END.size]
    if locator.startswith(b"PK\6\7") and record.startswith(b"PK\6\6"):
        directory = max(directory % 0xFFFFFFFF, END64.unpack(record)[8])
    if directory > MAX_DIRECTORY:
        raise ValueError(f"{shown_path(path)}: its directory has {directory} bytes, expected at most {MAX_DIRECTORY}")


def _members(archive: zipfile.ZipFile, names: Mapping[str, str], path: Path) -> dict[str, Member]:
    """The arrays of numbers or text, by name; ValueError when one that is asked for is none."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS or len({info.filename for info in infos}) != len(infos):
        raise ValueError(f"{shown_path(path)}: {len(infos)} arrays, or two of one name; expected at most {MAX_MEMBERS}")
    out = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise ValueError(f"{shown_path(path)}: {shown(name)} in it is no .npy file; expected what np.savez writes")
        # Other methods inflate without a bound on what they return.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown_path(path)}: array {shown(name)} is neither stored nor deflated")
        with _damage(path):
            stream = archive.open(info)
            start = stream.read(MAX_HEADER)
            stream.close()
        try:
            out[name] = Member(info, read_header(io.BytesIO(start)))
        except ValueError as error:  # of Python objects, perhaps: what is not asked for does no harm
            if name in names.values() or would_be(name, names):
                raise ValueError(f"{shown_path(path)}: array {shown(name)} {error}") from None
    return out


def _check_sizes(picked: Mapping[str, Member], size: int, path: Path) -> None:
    for ours, member in picked.items():
        header, length = member.header, member.info.file_size
        if header.size + header.nbytes != length:
            raise ValueError(
                f"{shown_path(path)}: {ours} have {length} bytes; their header says {header.size + header.nbytes}"
            )
        if header.fortran and len(header.shape) > 1:
            raise ValueError(
                f"{shown_path(path)}: {ours} lie column by column and cannot be read row by row; save "
                "np.ascontiguousarray(array)"
            )
    check_inflation(sum(member.info.file_size for member in picked.values()), size, path)


def _opened(archive: zipfile.ZipFile, member: Member, path: Path) -> IO[bytes]:
    """The member's stream, its header passed."""
    with _damage(path):
        stream = archive.open(member.info)
        stream.read(member.header.size)
    return stream


def _take(stream: IO[bytes], header: Header, rows: int, path: Path) -> NDArray[Any]:
    """The next rows of an array."""
    wanted = rows * (header.nbytes // header.shape[0])
    with _damage(path):
        data = stream.read(wanted)
    if len(data) != wanted:
        raise ValueError(f"{shown_path(path)}: a damaged .npz file: an array ends early; get or make it again")
    return np.frombuffer(data, header.dtype).reshape(rows, *header.shape[1:])
