"""The runner itself: what it finds in a page, how its shell and its Python behave, and that failures are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a page; ''' stands for a fence."""

    def write(text: str) -> Path:
        page = tmp_path / "some page.md"
        page.write_text(text.replace("'''", "```"), "utf-8")
        return page

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a page to run in."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def three_setup() -> dict[str, Any]:
    """What `<!-- setup: three -->` asks for."""
    return {"three": 3}


PAGE = """\
# A page

<!-- world: seas -->

Text with ''' in it.

- A list:

  <!-- not run: needs a network -->
  '''sh
  curl example.org
  '''
<!-- setup: three -->

'''python
x = three + 1
'''
'''text
nothing = here
'''
'''{directive} python
also = not run
'''
"""


def test_a_page_is_its_blocks_and_their_comments(read_page: Callable[..., Any], write: Write) -> None:
    page = read_page(write(PAGE))
    assert page.world == "seas"
    assert [(block.language, block.line) for block in page.blocks] == [
        ("sh", 11),
        ("python", 16),
        ("text", 19),
        ("{directive}", 22),
    ]
    shell, python, *_ = page.blocks
    assert (shell.code, shell.not_run, shell.setup) == ("curl example.org\n", "needs a network", None)
    assert (python.code, python.not_run, python.setup) == ("x = three + 1\n", None, "three")


@pytest.mark.parametrize("text", ["<!-- not run: why -->\n\ntext\n\n'''sh\nls\n'''\n", "<!-- setup: three -->\n"])
def test_a_comment_about_no_block_is_seen(
    read_page: Callable[..., Any], run_page: Callable[..., Any], write: Write, folder: Path, text: str
) -> None:
    assert len(read_page(write(text)).stray) == 1
    with pytest.raises(AssertionError, match="stands before no block"):
        run_page(write(text), folder)


LINKS = """\
[a](b.md) ![c](d.png) `[j](k)`

| [e](f.md#g) |
|---|
| <img src="h.svg"> |

<p><img src='i.png'></p>
"""


def test_links_are_found(read_page: Callable[..., Any], write: Write) -> None:
    assert read_page(write(LINKS)).links == ("b.md", "d.png", "f.md#g", "h.svg", "i.png")


def test_python_shares_one_namespace_and_runs_in_the_folder(
    run_page: Callable[..., Any], write: Write, folder: Path
) -> None:
    page = write(PAGE + "'''python\nfrom pathlib import Path\nx *= 2\nhere = Path.cwd()\n'''\n")
    names = run_page(page, folder).names
    assert (names["x"], names["here"]) == (8, folder)
    assert not {"nothing", "also"} & set(names)


def test_an_exception_shows_the_line_of_the_page(run_page: Callable[..., Any], write: Write, folder: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(write("text\n\n'''python\na = 1\n1 / 0\n'''\n"), folder)
    assert caught.traceback[-1].lineno + 1 == 5  # counted from 0


SHELL = """\
'''sh
program="rebalance"   # a comment
mkdir inner
(cd inner && rebalance --version > out.txt)
for name in one 'two words'; do
    echo "$name" \\
        >> names.txt
done
'''
Between the blocks.
'''sh
$program --version | tr a-z A-Z > upper.txt
.venv/bin/rebalance --version 2> none.txt
python -m rebalance --version | head -c 3
torchrun --nproc-per-node 4 -m rebalance --version
if rebalance --nonsense 2> usage.txt; then echo accepted; fi
python3 -c 'import sys; print(sys.stdin.read(), sys.executable)'
'''
"""


def test_a_shell_block_is_a_shell(run_page: Callable[..., Any], write: Write, folder: Path) -> None:
    ran = run_page(write(SHELL), folder)
    version = (folder / "inner" / "out.txt").read_text("utf-8")
    assert version.startswith("rebalance, version ")
    assert (folder / "names.txt").read_text("utf-8") == "one\ntwo words\n"
    assert (folder / "upper.txt").read_text("utf-8") == version.upper()
    assert (folder / "none.txt").read_text("utf-8") == ""
    assert "no such option" in (folder / "usage.txt").read_text("utf-8").lower()
    assert ran.output.startswith(f"{version}reb{version}")
    assert "accepted" not in ran.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "line 5: exit code 1"),
        ("rebalance info nothing.cache", "nothing.cache"),
        ("rebalance info nothing.cache | cat", "nothing.cache"),
        ("rebalance inform", "No such command"),
        ("echo $unknown", "unknown"),
        ("no-such-program-at-all", r"line 5: exit code 127"),
        ("(cd nowhere && ls)", "nowhere"),
        ("torchrun train.py", "only -m rebalance"),
        ("exit 0", "exit code 0"),
        ("true && pip install torch", "line 5: pip needs"),
        ("for i in 1 2; do sudo ls; done", "line 5: sudo needs"),
        ("(cd x; /usr/bin/git clone y)", "line 5: git needs"),
    ],
)
def test_a_command_that_fails_is_seen(
    run_page: Callable[..., Any], write: Write, folder: Path, command: str, message: str
) -> None:
    page = write(f"text\n\n'''sh\necho before\n{command}\ntouch after\n'''\n")
    with pytest.raises(pytest.fail.Exception, match=message) as caught:
        run_page(page, folder)
    assert "some page.md, line" in str(caught.value)
    assert not (folder / "after").exists()


def test_a_crash_of_the_program_is_seen(
    run_page: Callable[..., Any], write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalance_cli.info.info.callback", lambda **_: 1 / 0)
    with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
        run_page(write("'''sh\nrebalance info .\n'''\n"), folder)


VARIABLES = """\
'''sh
epochs=90 size="224 px"   # a miniature takes others
export name='long'
echo $epochs $size $name --epochs=90 \\
    epochs=90
'''
<!-- not run: hours -->
'''sh
cluster=big
'''
"""


def test_variables_take_other_values(run_page: Callable[..., Any], write: Write, folder: Path) -> None:
    page = write(VARIABLES)
    assert run_page(page, folder).output == "90 224 px long --epochs=90 epochs=90\n"
    ran = run_page(page, folder, variables={"epochs": "1", "size": "8", "name": "short"})
    assert ran.output == "1 8 short --epochs=90 epochs=90\n"


@pytest.mark.parametrize("name", ["steps", "cluster"])
def test_a_variable_that_no_block_assigns_is_refused(
    run_page: Callable[..., Any], write: Write, folder: Path, name: str
) -> None:
    with pytest.raises(ValueError, match=f"assigns no {name}"):
        run_page(write(VARIABLES), folder, variables={"epochs": "1", name: "2"})
