"""Which packages are installed, next to the oldest versions the project is made for."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from featurecache.checkup.finding import Finding, failed, passed, warned

DISTRIBUTION = "featurecache-rebalance"
HDF5 = "2.0"  # before it, known holes in what `convert` lets the library read
FOR_DEVELOPERS = "dev"
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*?>=\s*([0-9][0-9.]*)")
EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True)
class Requirement:
    """A package, the oldest version that will do, and the extra that asks for it (None: everybody needs it)."""

    name: str
    least: str
    extra: str | None


def installed() -> Iterator[Finding]:
    """Python, every package that is needed, and every optional one."""
    try:
        requirements = parsed(importlib.metadata.requires(DISTRIBUTION) or ())
        python = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        yield warned(
            "packages",
            f"{DISTRIBUTION} runs from its source, so nobody says which versions it needs",
            "install it: pip install -e . in the folder of pyproject.toml",
        )
        return
    yield _python(python.removeprefix(">="))
    yield from map(_package, requirements)
    yield hdf5()


def parsed(lines: Iterable[str]) -> Sequence[Requirement]:
    """The packages that users need, each once: needed by all before wanted by an extra.

    lines: as package metadata say them, such as `timm>=1.0.9; extra == "timm"`.
    """
    found: dict[str, Requirement] = {}
    for line in lines:
        match, extra = REQUIREMENT.match(line), EXTRA.search(line)
        if match and not (extra and extra[1] == FOR_DEVELOPERS):
            found.setdefault(match[1].lower(), Requirement(match[1], match[2], extra[1] if extra else None))
    return sorted(found.values(), key=lambda each: each.extra is not None)


def extra_of(package: str) -> str:
    """How to get an optional package: with the extra that asks for it, else by its own name."""
    try:
        wanted = parsed(importlib.metadata.requires(DISTRIBUTION) or ())
    except importlib.metadata.PackageNotFoundError:
        wanted = ()
    extra = next((each.extra for each in wanted if each.name == package), None)
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {package}"


def is_older(version: str, least: str) -> bool:
    """Whether a version is before another, by their leading numbers: 2.13.0+cpu is 2.13.0, and 2.13 is too."""

    def numbers(text: str) -> list[int]:
        leading = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
        parts = [int(part) for part in leading[0].split(".")] if leading else []
        while parts and not parts[-1]:
            parts.pop()
        return parts

    return numbers(version) < numbers(least)


def hdf5() -> Finding:
    """The HDF5 library that h5py was built with."""
    import h5py

    version = str(h5py.version.hdf5_version)
    if is_older(version, HDF5):
        return warned(
            "HDF5",
            f"h5py was built with HDF5 {version}, which crashes on forged files",
            "install h5py with pip, whose wheels bring a newer one, before you convert files of strangers",
        )
    return passed("HDF5", version)


def _python(least: str) -> Finding:
    version = platform.python_version()
    if is_older(version, least):
        return failed("python", f"{version}; expected {least} or later", f"install Python {least}")
    return passed("python", version)


def _package(wanted: Requirement) -> Finding:
    name, least = wanted.name, wanted.least
    get = f"pip install '{DISTRIBUTION}[{wanted.extra}]'" if wanted.extra else f"pip install '{name}>={least}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if wanted.extra:
            return passed(name, f"not installed, and only the extra {wanted.extra} needs it: {get}")
        return failed(name, "not installed", get)
    if is_older(version, least):
        verdict = warned if wanted.extra else failed
        return verdict(name, f"{version}; expected {least} or later", f"pip install --upgrade '{name}>={least}'")
    return passed(name, version)
