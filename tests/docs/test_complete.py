"""The built site: every method, command, option, figure, source and public name is in it, and every link is whole."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from featurecache.datasets import SOURCES as DATA_SOURCES
from featurecache.models import SOURCES as MODEL_SOURCES
from rebalance import METHODS
from rebalance.metrics import FIGURES
from rebalance_cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("featurecache", "rebalance", "rebalance.methods", "rebalance.metrics")
LOADED = {"script": "src", "img": "src", "link": "href", "source": "srcset", "iframe": "src"}  # without being asked


class Html(HTMLParser):
    """A page as a browser sees it: its ids, what its links lead to, what it loads by itself, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if LOADED.get(tag) in given:
            self.loads.append(given[LOADED[tag]])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@dataclass(frozen=True)
class Site:
    """The built site: what the builder said, its pages by path, and the kind and name of all that can be linked to."""

    code: int
    said: str
    folder: Path
    pages: dict[str, Html] = field(repr=False)
    names: set[tuple[str, str]] = field(repr=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """docs/ as Sphinx builds it, with warnings as errors that do not end the building."""
    made = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--fail-on-warning", "--keep-going", "--nitpicky", "--doctree-dir", str(made / "doctrees"))
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", str(made / "html")],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    folder = made / "html"
    assert (folder / "objects.inv").is_file(), run.stdout + run.stderr
    found = sorted(
        path for path in folder.rglob("*.html") if "_static" not in path.parts
    )  # there are the theme's parts
    pages = {path.relative_to(folder).as_posix(): Html(path.read_text("utf-8")) for path in found}
    return Site(run.returncode, run.stdout + run.stderr, folder, pages, set(_inventory(folder / "objects.inv")))


def _inventory(path: Path) -> Iterator[tuple[str, str]]:
    """(kind, name) of every line: after four lines of header `name kind priority page title`, compressed."""
    packed = path.read_bytes().split(b"\n", 4)[4]
    for line in zlib.decompress(packed).decode("utf-8").splitlines():
        name, kind = re.fullmatch(r"(.+?) (\S+:\S+) -?\d+ \S* .*", line).groups()  # type: ignore[union-attr]
        yield kind, name


def commands(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below this one with the words that call it, those of the methods too."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, *names, name)


def test_it_builds_without_a_warning(site: Site) -> None:
    assert (site.code, site.said) == (0, "")


def test_every_command_has_its_page(site: Site) -> None:
    pages = {Path(page).stem for page in site.pages if page.startswith("cli/")}
    assert pages == set(cli.commands)


def test_every_option_of_every_command_is_on_it(site: Site) -> None:
    wanted = {
        f"{'-'.join(('rebalance', *names))}.{option}"
        for names, command in commands(cli)
        if names
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert len(wanted) > 500  # the tree was walked
    assert sorted(wanted - {name for kind, name in site.names if kind == "std:cmdoption"}) == []


def test_every_command_shows_its_example(site: Site) -> None:
    for name, command in cli.commands.items():
        lines = [line.strip() for line in (command.epilog or "").splitlines() if "rebalance" in line]
        assert lines, f"{name} has no example"
        assert [line for line in lines if " ".join(line.split()) not in site.pages[f"cli/{name}.html"].text] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_described(site: Site, package: str) -> None:
    described = {name for kind, name in site.names if kind.startswith("py:")}
    module = importlib.import_module(package)
    others = [importlib.import_module(other) for other in PACKAGES]
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        # Described once, in the first of the packages that export it or where it is made.
        places = {f"{other.__name__}.{name}" for other in others if getattr(other, name, None) is value}
        places.add(f"{getattr(value, '__module__', package)}.{name}")
        if not places & described:
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_explained(site: Site, name: str) -> None:
    assert name in site.pages["methods.html"].ids | {each.replace("-", "_") for each in site.pages["methods.html"].ids}
    assert f"rebalance fit {name}" in site.pages["cli/fit.html"].text
    assert f"| `{name}` |" in (ROOT / "README.md").read_text("utf-8")


def test_every_figure_is_explained(site: Site) -> None:
    # Those of one shot group are what the name before it says, as the page's row of groups does.
    names = {re.sub(r"_(many|medium|few)$", "", name) for name in FIGURES}
    said = set(re.findall(r"\w+", site.pages["guide/judging.html"].text))
    assert sorted(names - said) == []


def test_every_model_source_is_explained(site: Site) -> None:
    assert [name for name in MODEL_SOURCES if f"{name}:" not in site.pages["guide/models.html"].text] == []


def test_every_data_source_is_explained(site: Site) -> None:
    # `digits`, `idx:DIR`, `.txt`, `folder of class folders`: what tells a source from the others.
    marks = {re.search(r"\s\.\w+|$", each.usage)[0].strip() or each.usage.split("[")[0] for each in DATA_SOURCES}  # type: ignore[index]
    text = site.pages["guide/data.html"].text
    assert sorted(mark for mark in marks if mark not in text) == []


def test_every_link_leads_somewhere(site: Site) -> None:
    broken = []
    for name, page in site.pages.items():
        for link in page.links + page.loads:
            at = urlsplit(link)
            if at.scheme or at.netloc or link == "#":
                continue
            target = (site.folder / name).parent / unquote(at.path) if at.path else site.folder / name
            inside = os.path.relpath(target, site.folder)
            ids = site.pages[inside].ids if inside in site.pages else None
            if not target.is_file() or (at.fragment and ids is not None and unquote(at.fragment) not in ids):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_no_page_loads_anything_from_elsewhere(site: Site) -> None:
    outside = {f"{name}: {load}" for name, page in site.pages.items() for load in page.loads if urlsplit(load).netloc}
    assert sorted(outside) == []
    styles = [
        path
        for path in site.folder.rglob("*.css")
        if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text("utf-8"))
    ]
    assert styles == []
