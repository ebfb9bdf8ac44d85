"""README.md tells the truth: its Python runs, its commands and options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from featurecache.datasets import ImageTransform
from featurecache.models import ConvNet, save_run
from rebalance_cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")

# An optional `<!-- setup: NAME -->` line, then a fenced block.
FENCE = re.compile(
    r"^(?:<!-- setup: (?P<setup>\w+) -->\n\s*)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it starts on and the setup it asks for."""

    language: str
    code: str
    line: int
    setup: str | None


def blocks(text: str, *languages: str) -> list[Block]:
    """The fenced blocks of the text in any of the languages, in their order."""
    found = [
        Block(match["language"], match["code"], text.count("\n", 0, match.start("code")), match["setup"])
        for match in FENCE.finditer(text)
    ]
    return [block for block in found if block.language in languages]


def run_python(text: str, setups: dict[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """The namespace that the text's Python blocks leave behind; a setup is called once, before its block."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    done: set[str] = set()
    for block in blocks(text, "python"):
        if block.setup is not None and block.setup not in done:
            namespace |= setups[block.setup]()
            done.add(block.setup)
        # Blank lines before the code make a traceback show README's own line numbers.
        exec(compile("\n" * block.line + block.code, "README.md", "exec"), namespace)
    return namespace


def flowers() -> dict[str, Any]:
    """A small classifier, three sets of images of four classes, and features that came from elsewhere."""
    rng = np.random.default_rng(0)
    counts = {"train": [40, 20, 10, 5], "val": [8] * 4, "test": [8] * 4}
    centres = torch.from_numpy(rng.normal(size=(4, 3, 8, 8))).float()
    made: dict[str, Any] = {}
    for split, sizes in counts.items():
        labels = torch.from_numpy(np.repeat(np.arange(4), sizes))
        images = centres[labels] + 0.5 * torch.from_numpy(rng.normal(size=(len(labels), 3, 8, 8))).float()
        made[f"{split}_images"] = TensorDataset(images, labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    images, labels = made["train_images"].tensors
    with torch.no_grad():
        return made | {"model": model, "features": model[:-1](images), "labels": labels}


def rebalanced() -> dict[str, Any]:
    """A model's file as `train` and `export` write it, in the working folder."""
    transform = ImageTransform(size=8)
    description = {"arch": "convnet", "channels": 3, "image_size": 8, "class_names": ["a", "b"], "trained_on": "0" * 64}
    save_run(Path("rebalanced.pt"), ConvNet(2, image_size=8), description | {"transform": transform.to_dict()})
    return {}


SETUPS = {"flowers": flowers, "rebalanced": rebalanced}


def shell_commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the text's shell blocks, without prompts, comments and redirections."""
    for block in blocks(text, "sh", "bash", "console"):
        lines = block.code.replace("\\\n", " ").splitlines()
        if block.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            command: list[str] = []
            skip = False
            for word in lexer:
                if skip:
                    skip = False
                elif set(word) <= set("|&;"):
                    yield command
                    command = []
                elif set(word) <= set("<>&"):
                    skip = True
                else:
                    command.append(word)
            yield command


def rebalance_arguments(text: str) -> list[list[str]]:
    """What follows `rebalance` (or `-m rebalance`) in every command of the text that runs it."""
    found = []
    for words in shell_commands(text):
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
        if name in given and isinstance(parameter.type, click.Choice):
            parameter.type_cast_value(context, given[name])


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert blocks(README, "python"), "README.md shows no Python"
    run_python(README, SETUPS)


@pytest.mark.parametrize("words", rebalance_arguments(README), ids=" ".join)
def test_commands_exist(words: list[str]) -> None:
    check_arguments(cli, words)


def test_make_targets_and_pip_lines() -> None:
    commands = list(shell_commands(README))
    targets = {words[1] for words in commands if words[:1] == ["make"] and len(words) > 1}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert {"demo", "test"} <= targets
    assert {target for target in targets if f"\n{target}:" not in makefile} == set()
    # An unpinned torch pulls gigabytes.
    installs = [words for words in commands if "install" in words and any(Path(word).name == "pip" for word in words)]
    assert [words for words in installs if "constraints.txt" not in words] == []


def test_files_it_links_to_exist() -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", README) + re.findall(r'src="(?!https?:)([^"]+)"', README)
    assert [link for link in links if not (ROOT / link).exists()] == []


SAMPLE = """\
<!-- setup: three -->
```python
x = three + 1
```
```python
y = 2 * x
```
```text
nothing = here
```
```sh
make demo && rebalance toy in.cache --size 3 > out.txt   # a comment
.venv/bin/rebalance toy \\
  in.cache --kind b
torchrun --nproc 2 -m rebalance toy in.cache
pip install rebalance
```
```console
$ rebalance --help
Usage: rebalance nonsense
```
"""


def test_sample_python_really_runs() -> None:
    namespace = run_python(SAMPLE, {"three": lambda: {"three": 3}})
    assert (namespace["x"], namespace["y"]) == (4, 8)
    assert "nothing" not in namespace
    with pytest.raises(ZeroDivisionError) as caught:
        run_python("text\n```python\na = 1\n1 / 0\n```\n", {})
    assert caught.traceback[-1].lineno == 3  # counted from 0: the fourth line of the text


def test_sample_commands_are_found() -> None:
    assert rebalance_arguments(SAMPLE) == [
        ["toy", "in.cache", "--size", "3"],
        ["toy", "in.cache", "--kind", "b"],
        ["toy", "in.cache"],
        ["--help"],
    ]


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
