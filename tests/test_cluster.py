"""The job files of examples/cluster: their commands are the project's, and go on by themselves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from rebalance_cli.main import cli

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "cluster"
SLURM = {
    "SLURM_ARRAY_JOB_ID": "12",
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_CPUS_PER_TASK": "64",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "n[1-4]",
    "SLURM_JOB_NUM_NODES": "4",
}
LIMIT = 20.0  # seconds that a script of a few milliseconds may take

# Programs of a cluster, and those of the project, that only write down how they were called.
STUB = """#!/bin/sh
name=$(basename "$0")
printf '%s\\n' "$name" "$@" > "$CALLS/$name.$$"
case "$name" in
    srun) while [ "${1#--}" != "$1" ]; do shift; done; exec "$@" ;;
    scontrol) [ "$1" = show ] && printf 'n1\\nn2\\n' ;;
    rebalance) [ -z "$HANGS" ] || { trap 'touch "$CALLS/committed"; exit 143' TERM; sleep 20 & wait; } ;;
esac
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """The environment of a job in which every program is a stub; its calls lie in $CALLS."""
    folder, calls = tmp_path / "programs", tmp_path / "calls"
    folder.mkdir()
    calls.mkdir()
    for name in ("rebalance", "torchrun", "srun", "scontrol"):
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls), "HANGS": ""}


def called(programs: Mapping[str, str], name: str) -> list[list[str]]:
    """The words of every call of a program."""
    return [path.read_text().splitlines()[1:] for path in sorted(Path(programs["CALLS"]).glob(f"{name}.*"))]


def run(words: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(words, env=dict(environment), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def checked(words: list[str]) -> dict[str, Any]:
    """The parameters of a `rebalance` command; click's UsageError where it is wrong. Nothing is run."""
    command, context, name = cli, click.Context(cli), "rebalance"
    while isinstance(command, click.Group):
        found, inner, words = command.resolve_command(context, words)
        assert inner is not None
        command, name = inner, found or ""  # type: ignore[assignment]
        context = click.Context(command, info_name=name, parent=context)
    return command.make_context(name, list(words), parent=context.parent).params


def container(file: str) -> dict[str, Any]:
    """The only container of a Kubernetes job."""
    job = next(each for each in documents(file) if each["kind"] == "Job")
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return dict(only)


def documents(file: str) -> list[dict[str, Any]]:
    """What a YAML file declares."""
    return list(yaml.safe_load_all((FOLDER / file).read_text("utf-8")))


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def module(words: list[str]) -> list[str]:
    """What torchrun runs with -m, for the program whose name follows."""
    place = words.index("-m")
    assert words[place + 1] == "rebalance"
    return words[place + 2 :]


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.sbatch")))
def test_scripts_are_sound(file: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / file)], check=True)
    lines = (FOLDER / file).read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    last = max(place for place, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[:last])  # behind the first command sbatch reads none
    assert "#SBATCH --requeue" in lines


def test_the_array_is_all_ranks(programs: dict[str, str]) -> None:
    text = (FOLDER / "extract.sbatch").read_text("utf-8")
    ((first, last),) = re.findall(r"--array=(\d+)-(\d+)$", text, re.MULTILINE)
    (world,) = re.findall(r"^WORLD_SIZE=(\d+)$", text, re.MULTILINE)
    assert (int(first), int(last)) == (0, int(world) - 1)
    run(["bash", str(FOLDER / "extract.sbatch")], programs | SLURM)
    (words,) = called(programs, "rebalance")
    given = checked(words)
    assert (given["rank"], given["world_size"]) == (5, int(world))
    assert list(given["splits"]) == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("sent", "code", "queued"), [(signal.SIGUSR1, 0, [["requeue", "12_5"]]), (signal.SIGTERM, 143, [])]
)
def test_what_stops_it_lets_it_commit(
    programs: dict[str, str], sent: signal.Signals, code: int, queued: list[list[str]]
) -> None:
    """Before the time is over it is queued again as well; preempted or cancelled it only ends."""
    environment = programs | SLURM | {"HANGS": "1"}
    with subprocess.Popen(["bash", str(FOLDER / "extract.sbatch")], env=environment) as job:
        deadline = time.monotonic() + LIMIT
        while not called(programs, "rebalance") and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # until it waits
        job.send_signal(sent)
        assert job.wait(LIMIT) == code
    assert (Path(programs["CALLS"]) / "committed").exists()
    assert called(programs, "scontrol") == queued


def test_the_fit_is_started_on_every_node(programs: dict[str, str]) -> None:
    run(["bash", str(FOLDER / "fit.sbatch")], programs | SLURM)
    (words,) = called(programs, "torchrun")
    (started,) = called(programs, "srun")
    assert started[:3] == ["--cpus-per-task=64", "--kill-on-bad-exit=1", "torchrun"]
    assert (after(words, "--nnodes"), after(words, "--rdzv-endpoint")) == ("4", "n1:29500")
    given = checked(module(words))
    assert given["cache"] == Path("/shared/photos.cache")
    assert given["tol"] == 0.01


def test_the_indexed_job_is_all_ranks(programs: dict[str, str]) -> None:
    (job,) = documents("extract.yaml")
    spec, only = job["spec"], container("extract.yaml")
    assert spec["completionMode"] == "Indexed"
    run([*only["command"], *only["args"]], programs | {"JOB_COMPLETION_INDEX": "3"})
    (words,) = called(programs, "rebalance")
    given = checked(words)
    assert (given["rank"], given["world_size"]) == (3, spec["completions"])
    assert spec["parallelism"] == spec["completions"]
    assert spec["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_the_pods_of_a_fit_find_each_other(programs: dict[str, str]) -> None:
    service, job = documents("fit.yaml")
    spec, only = job["spec"], container("fit.yaml")
    run([*only["command"], *only["args"]], programs | {"JOB_COMPLETION_INDEX": "2"})
    (words,) = called(programs, "torchrun")
    name = service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert spec["template"]["spec"]["subdomain"] == name
    assert after(words, "--master-addr") == f"{job['metadata']['name']}-0.{name}"
    assert (after(words, "--node-rank"), after(words, "--nnodes")) == ("2", str(spec["completions"]))
    assert after(words, "--nproc-per-node") == str(only["resources"]["limits"]["nvidia.com/gpu"])
    assert checked(module(words))["tol"] == 0.01


@pytest.mark.parametrize("file", ["extract.yaml", "fit.yaml"])
def test_every_volume_is_there(file: str) -> None:
    pod = next(each for each in documents(file) if each["kind"] == "Job")["spec"]["template"]["spec"]
    mounted = {mount["name"] for mount in container(file)["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_a_wrong_command_is_seen() -> None:
    with pytest.raises(click.UsageError, match="--wrold-size"):
        checked(["extract", "a.cache", "--model", "run:a.pt", "--split", "train=a", "--wrold-size", "4"])
    with pytest.raises(click.UsageError, match="crtt"):
        checked(["fit", "crtt", "a.cache", "--out", "h"])
