"""Commands of the pages that no test runs: their words are those of the real program, and what they name exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from rebalance_cli.main import cli

ROOT = Path(__file__).resolve().parents[2]

# What may stand before a command's own name.
BEFORE = {"do", "then", "else", "if", "while", "!", "time", "exec", "nohup", "srun", "env", "sudo", "(", "{"}
SCRIPT = re.compile(r"(benchmarks|examples|tests|docs)/.*\.py")
INSTALLED = re.compile(r"constraints\.txt|featurecache-rebalance(\[\w+\])?")


def commands_of(page: Any) -> Iterator[list[str]]:
    """The words of every command in shell blocks that are not run, without prompts, comments and redirections."""
    for block in page.blocks:
        lines = block.code.replace("\\\n", " ").splitlines()
        if block.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        elif block.language != "sh" or block.not_run is None:
            continue
        for line in lines:
            yield from _commands(line)


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    command: list[str] = []
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif set(word) <= set("|&;()"):
            yield command
            command = []
        elif set(word) <= set("<>&"):
            skip = True
        elif command or not (word in BEFORE or re.match(r"\w+=", word)):
            command.append(word)
    yield command


def rebalance_arguments(page: Any) -> list[list[str]]:
    """What follows `rebalance` (or `-m rebalance`) in every such command that runs it."""
    found = []
    for words in commands_of(page):
        for place, word in enumerate(words):
            if Path(word).name == "rebalance" and (place == 0 or words[place - 1] == "-m"):
                found.append(words[place + 1 :])
                break
    return found


def check_arguments(command: click.Command, words: list[str], context: click.Context | None = None) -> None:
    """Raises click's UsageError at a wrong command, option, choice or number of arguments; runs nothing."""
    context = click.Context(command, parent=context, info_name=command.name, **command.context_settings)
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    if isinstance(command, click.Group):
        if not rest:
            return
        chosen = command.get_command(context, rest[0])
        if chosen is None:
            raise click.UsageError(f"no command {rest[0]!r}")
        check_arguments(chosen, rest[1:], context)
        return
    if rest:
        raise click.UsageError(f"{command.name}: one argument too many: {rest[0]!r}")
    # What click leaves out is a marker of its own; what it gives is text or a flag, or several of them.
    given = {name: value for name, value in values.items() if isinstance(value, str | bool | tuple | list)}
    parameters = {parameter.name or "": parameter for parameter in command.get_params(context)}
    if any(parameters[name].is_eager for name in given):  # --help, --version: the rest is not looked at
        return
    for name, parameter in parameters.items():
        if parameter.required and name not in given:
            raise click.UsageError(f"{command.name}: {parameter.human_readable_name} is missing")
        # A value that the shell would put in is not known here.
        if name in given and isinstance(parameter.type, click.Choice) and "$" not in str(given[name]):
            parameter.type_cast_value(context, given[name])


def test_commands_exist(page: Any) -> None:
    for words in rebalance_arguments(page):
        try:
            check_arguments(cli, words)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: rebalance {shlex.join(words)}: {error.format_message()}", pytrace=False)


def test_make_targets_and_scripts_exist_and_installs_are_pinned(page: Any) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = list(commands_of(page))
    targets = {word for words in commands if words[:1] == ["make"] for word in words[1:] if "=" not in word}
    assert {target for target in targets if f"\n{target}:" not in makefile} == set()
    scripts = {word for words in commands for word in words if SCRIPT.fullmatch(word)}
    assert {script for script in scripts if not (ROOT / script).is_file()} == set()
    # An unpinned torch pulls gigabytes: from the source with constraints, or the published package with its own.
    installs = [words for words in commands if "install" in words and any(Path(word).name == "pip" for word in words)]
    assert [words for words in installs if not any(map(INSTALLED.fullmatch, words))] == []


SAMPLE = """\
<!-- not run: a sample -->
```sh
make PYTHON=python3 demo && rebalance toy in.cache --size 3 > out.txt   # a comment
for size in 3 4; do OMP_NUM_THREADS=1 .venv/bin/rebalance toy \\
  in.cache --kind $kind; done
(cd x && torchrun --nproc 2 -m rebalance toy in.cache)
pip install rebalance
```
```sh
rebalance is run
```
```console
$ rebalance --help
Usage: rebalance nonsense
```
"""


@pytest.fixture
def sample(tmp_path: Path, read_page: Callable[[Path], Any]) -> Any:
    """A page with commands of every kind."""
    (tmp_path / "sample.md").write_text(SAMPLE, "utf-8")
    return read_page(tmp_path / "sample.md")


def test_sample_commands_are_found(sample: Any) -> None:
    assert rebalance_arguments(sample) == [
        ["toy", "in.cache", "--size", "3"],
        ["toy", "in.cache", "--kind", "$kind"],
        ["toy", "in.cache"],
        ["--help"],
    ]


def test_a_wrong_page_is_seen(tmp_path: Path, read_page: Callable[[Path], Any]) -> None:
    for line in ("make tea", "python benchmarks/nothing.py", "pip install torch"):
        (tmp_path / "bad.md").write_text(f"<!-- not run: a sample -->\n```sh\n{line}\n```\n", "utf-8")
        with pytest.raises(AssertionError):
            test_make_targets_and_scripts_exist_and_installs_are_pinned(read_page(tmp_path / "bad.md"))
    (tmp_path / "bad.md").write_text("<!-- not run: a sample -->\n```sh\nrebalance brew\n```\n", "utf-8")
    with pytest.raises(pytest.fail.Exception, match=r"rebalance brew: no command 'brew'"):
        test_commands_exist(read_page(tmp_path / "bad.md"))


@click.group()
def toys() -> None:
    """A group to test the check on."""


@toys.command()
@click.argument("cache")
@click.argument("heads", nargs=-1)
@click.option("--size", type=int, required=True)
@click.option("--kind", type=click.Choice(["a", "b"]))
def toy(cache: str, heads: tuple[str, ...], size: int, kind: str | None) -> None:
    """Must not run."""
    raise AssertionError(f"{cache} {heads} {size} {kind}")


def test_right_arguments_pass_and_nothing_runs() -> None:
    check_arguments(toys, ["toy", "in.cache", "--size", "3"])
    check_arguments(toys, ["toy", "in.cache", "a.head", "b.head", "--size", "3", "--kind", "a"])
    check_arguments(toys, ["toy", "in.cache", "--size", "3", "--kind", "$kind"])
    check_arguments(toys, ["toy", "--help"])
    check_arguments(toys, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toys", "in.cache"], "toys"),
        (["toy", "in.cache", "--size", "3", "--sise", "3"], "--sise"),
        (["toy", "in.cache", "--size", "3", "--kind", "c"], "'c'"),
        (["toy", "in.cache"], "--size|size"),
        (["toy", "--size", "3"], "CACHE"),
    ],
)
def test_wrong_arguments_are_seen(words: list[str], message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        check_arguments(toys, words)
