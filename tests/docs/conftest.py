"""The code blocks of a Markdown page: which there are, and running them in their order."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt

from rebalance_cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).with_name("programs")
PAGES = sorted(
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "examples/*/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)
# What would install, fetch or start other work stands in no block that runs.
OUTSIDE = re.compile(r"(?:^|[|&;(]|\bdo |-m )\s*(?:\S*/)?(pip|apt-get|sudo|curl|wget|git|make|sbatch|srun)\s", re.M)
LAST = 4_000  # characters of output that a failure shows

COMMENT = re.compile(r"<!-- (world|setup|not run): (.+?) -->", re.DOTALL)
SOURCE = re.compile(r"""\bsrc(?:set)?=["']([^"']+)""")  # of an image in HTML
VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s"'])*"""
ASSIGNMENTS = re.compile(rf"\s*(?:export\s+)?(?:\w+={VALUE}\s*)+(?:#.*)?")  # a line of shell that does nothing else


@dataclass(frozen=True)
class Block:
    """A fenced block: language, text, the page's line its text starts on, and what the comments before it say.

    setup: the fixture `SETUP_setup` gives more names to the page's Python. not_run: why it is not run; None: it is.
    """

    language: str
    code: str
    line: int
    setup: str | None = None
    not_run: str | None = None

    @property
    def runs(self) -> bool:
        """Whether `run_page` runs it."""
        return self.not_run is None and self.language in {"sh", "python"}


@dataclass(frozen=True)
class Page:
    """A page: its blocks in their order, the targets of its links and images, and comments that stand before no block.

    world: the fixture `WORLD_world` makes the folder they run in; None: an empty one.
    """

    path: Path
    blocks: tuple[Block, ...]
    world: str | None
    links: tuple[str, ...]
    stray: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its path, from the project's folder where it lies in there."""
        return str(self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path)


@dataclass(frozen=True)
class Ran:
    """What a page left behind: the names of its Python, and what its shell blocks printed."""

    names: dict[str, Any]
    output: str


def _read(path: Path) -> Page:
    """The page as it is on disk."""
    blocks: list[Block] = []
    links: list[str] = []
    stray: list[str] = []
    said: dict[str, str] = {}
    world = None
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text("utf-8")):
        if token.type == "fence":
            info = token.info.split()
            line = token.map[0] + 2 if token.map else 0
            about = {"setup": said.pop("setup", None), "not_run": said.pop("not run", None)}
            blocks.append(Block(info[0] if info else "", token.content, line, **about))
        elif token.type == "html_block":
            comments = dict(COMMENT.findall(token.content))
            world = comments.pop("world", world)
            said |= comments
            links += SOURCE.findall(token.content)
        elif token.content:
            stray += said
            said = {}
            links += [
                str(part.attrs.get("href") or part.attrs.get("src")) for part in token.children or [] if part.attrs
            ]
            links += SOURCE.findall(token.content)
    return Page(path, tuple(blocks), world, tuple(links), (*stray, *said))


def _replaced(page: Page, variables: Mapping[str, str]) -> list[Block]:
    """The blocks with other values in the lines of their shell that only assign; ValueError at a name none assigns."""
    missing = set(variables)

    def value(found: re.Match[str]) -> str:
        missing.discard(found[1])
        return f"{found[1]}={variables[found[1]]}" if found[1] in variables else found[0]

    changed = []
    for block in page.blocks:
        lines = block.code.split("\n")
        if block.language == "sh" and block.runs:
            for i, line in enumerate(lines):
                if ASSIGNMENTS.fullmatch(line) and not (i and lines[i - 1].endswith("\\")):
                    lines[i] = re.sub(rf"(\w+)={VALUE}", value, line)
        changed.append(Block(block.language, "\n".join(lines), block.line, block.setup, block.not_run))
    if missing:
        raise ValueError(f"{page.name} assigns no {', '.join(sorted(missing))} in a line of its own")
    return changed


class Shell:
    """One bash for all shell blocks of a page, in which `rebalance` is a call to this process.

    What programs/rebalance tells comes through a pipe that ends when bash and all it started have ended.
    """

    def __init__(self, page: Page, folder: Path, calls: Path) -> None:
        self.page, self.calls, self.log, self.line = page, calls, calls / "log", 0
        reading, writing = os.pipe()
        told = fcntl.fcntl(writing, fcntl.F_DUPFD, 50)  # clear of the numbers that shell scripts use
        os.close(writing)
        more = {"PAGE_CALLS": str(calls), "PAGE_TOLD": str(told), "PAGE_PYTHON": sys.executable, "BASH_ENV": ""}
        more["PATH"] = os.pathsep.join((str(PROGRAMS), os.environ["PATH"]))
        with self.log.open("wb") as log:
            self.bash = subprocess.Popen(
                ["bash", "-eEu", "-o", "pipefail"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                cwd=folder,
                env=os.environ | more,
                pass_fds=[told],
            )
        os.close(told)
        self.told = os.fdopen(reading)
        self._type('trap \'printf "line %s\\n" "$LINENO" >&$PAGE_TOLD\' ERR\n')

    def close(self) -> None:
        """Ends it, and what it still runs."""
        self.bash.kill()
        self.bash.communicate()
        self.told.close()

    def _type(self, text: str) -> None:
        assert self.bash.stdin is not None
        self.bash.stdin.write(text)
        self.bash.stdin.flush()

    def run(self, block: Block) -> None:
        """Runs a block; the test fails where one of its commands does."""
        if found := OUTSIDE.search(block.code):
            line = block.line + block.code.count("\n", 0, found.start(1))
            pytest.fail(f"{self.page.name}, line {line}: {found[1]} needs <!-- not run: REASON -->", pytrace=False)
        # Blank lines before the commands make bash count the page's own lines.
        script = self.calls / self.page.path.name
        script.write_text("\n" * (block.line - 1) + block.code, "utf-8")
        before = self.log.stat().st_size
        self._type(f"source '{script}' </dev/null; printf 'done\\n' >&$PAGE_TOLD\n")
        for told in self.told:
            match told.split():
                case ["done"]:
                    return
                case ["line", number]:
                    self.line = number
                case _:
                    _answer(Path(told.rstrip("\n")))
        output = self.log.read_bytes()[before:].decode("utf-8", "replace")
        code = self.bash.wait()
        pytest.fail(f"{self.page.name}, line {self.line}: exit code {code}\n{output[-LAST:]}", pytrace=False)


def _invoke(folder: str | Path, words: list[str]) -> Result:
    """Runs the program in the folder; a crash ends what it says on stderr."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(cli, words, prog_name="rebalance")
    if result.exc_info is not None and not isinstance(result.exception, SystemExit | None):
        result.stderr_bytes += "".join(traceback.format_exception(*result.exc_info)).encode()
    return result


def _answer(call: Path) -> None:
    """Runs the command that programs/rebalance asks for, and leaves it output and exit code."""
    folder, *words = (call / "words").read_text("utf-8").split("\0")[:-1]
    result = _invoke(folder, words)
    (call / "stdout").write_bytes(result.stdout_bytes)
    (call / "stderr").write_bytes(result.stderr_bytes)
    with contextlib.suppress(OSError):  # nobody waits any more
        waiting = os.open(call / "code", os.O_WRONLY | os.O_NONBLOCK)
        os.write(waiting, f"{result.exit_code}\n".encode())
        os.close(waiting)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """The program takes over SIGTERM and SIGHUP; afterwards they are as they were."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture(params=PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def page(request: pytest.FixtureRequest) -> Page:
    """Every page in turn."""
    return _read(request.param)


RUNNING = [
    page for page in map(_read, PAGES) if "recipes" not in page.path.parts and any(block.runs for block in page.blocks)
]


@pytest.fixture(params=RUNNING, ids=[page.name for page in RUNNING])
def running_page(request: pytest.FixtureRequest) -> Page:
    """Every page in turn that has blocks to run; the recipes have tests of their own."""
    return request.param


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Page]:
    """Reads a page."""
    return _read


@pytest.fixture(scope="session")
def rebalance() -> Callable[..., None]:
    """`rebalance(folder, *words)` runs the program in the folder, for a world that has its results."""

    def done(folder: Path, *words: object) -> None:
        with _signals():
            result = _invoke(folder, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr

    return done


@pytest.fixture
def run_page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """`run_page(page, folder, variables={})` runs a page's ```sh and ```python blocks in their order in the folder.

    One bash runs all shell blocks of a page, one namespace all Python. Not run is what stands below
    `<!-- not run: REASON -->`. variables: other values for what lines such as `epochs=90` in shell blocks assign.
    The test fails at the first command with another exit code than 0 and at the first exception.
    """

    # Exporting a model logs thousands of lines, which would hide a failure.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)

    def run(path: Path, folder: Path, variables: Mapping[str, str] | None = None) -> Ran:
        page = _read(path)
        assert not page.stray, f"{page.name}: <!-- {page.stray[0]}: … --> stands before no block"
        names: dict[str, Any] = {"__name__": "page"}
        calls = tmp_path_factory.mktemp("calls")
        if not (folder / ".venv").exists():
            (folder / ".venv").mkdir()
            (folder / ".venv" / "bin").symlink_to(PROGRAMS)
        with _signals(), contextlib.chdir(folder), contextlib.closing(Shell(page, folder, calls)) as shell:
            for block in _replaced(page, variables or {}):
                if not block.runs:
                    continue
                if block.setup is not None:
                    names |= request.getfixturevalue(f"{block.setup}_setup")
                if block.language == "sh":
                    shell.run(block)
                else:
                    # Blank lines before the code make a traceback show the page's own lines.
                    exec(compile("\n" * (block.line - 1) + block.code, path, "exec"), names)
            return Ran(names, shell.log.read_text("utf-8", "replace"))

    return run
