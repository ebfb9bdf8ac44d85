"""A process that runs one step after another, so that the imports are paid once.

It reads a step a line from standard input, {"words": […], "log": FILE, "out": FILE}, and answers {"rc": …, "wall": …,
"cpu": …} a line on what its standard output was. While a step runs, standard output goes to `out` and standard error
to `log`. It ends with its input. It is started by crew.py, with the threads of the libraries set.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import runpy
import sys
import time
import traceback
from typing import Any

import click


def main() -> None:
    """Answer until there is no more input."""
    sys.path.pop(0)  # the folder of this file: its modules are no top-level ones
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        before, began = _cpu(), time.perf_counter()
        with open(asked["out"], "wb") as out, open(asked["log"], "ab") as log:
            os.dup2(out.fileno(), 1)
            os.dup2(log.fileno(), 2)
        code = _run(asked["words"])
        sys.stdout.flush()
        sys.stderr.flush()
        took = {"wall": round(time.perf_counter() - began, 3), "cpu": round(_cpu() - before, 3)}
        print(json.dumps({"rc": code, **took}), file=answers, flush=True)


def _run(words: list[str]) -> int:
    """The exit code of a command: `rebalance …` in this process, `python FILE …` too."""
    try:
        if words[0] == "python":
            sys.argv = words[1:]
            runpy.run_path(words[1], run_name="__main__")
            return 0
        return _rebalance(words[1:])
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # a step that fails in whatever way must not keep the others from being run
        traceback.print_exc()
        return 1


def _rebalance(words: list[str]) -> int:
    from rebalance_cli.main import cli

    try:
        result: Any = cli.main(words, prog_name="rebalance", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0


def _cpu() -> float:
    """CPU seconds of this process and of those that it waited for."""
    return sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, _WHO))


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
