"""The benchmark of a CUDA device, in miniature on the CPU: all of it but the device itself."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OWN = ("device", "speed", "extracting", "gpu")
LONG = 60.0  # seconds that a process which is to end by itself may take on a busy machine


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], Any]]:
    """Imports a module of the benchmarks by its name; afterwards none of them can be."""
    known, path = set(sys.modules), sys.path[:]
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in OWN:
            del sys.modules[name]


@pytest.fixture
def record(load: Any, tmp_path: Path) -> Any:
    """A record of what is found on the CPU, in a file of its own."""
    place = load("device.place").Place(torch.device("cpu"))
    return load("device.record").Record(place, tmp_path / "lines")


@pytest.fixture
def size(load: Any) -> Any:
    """A problem that every head takes milliseconds for."""
    return load("speed.problem").Size(rows=300, width=16, classes=6, largest=100, smallest=5, val=6, test=20)


def kept(record: Any, kind: str = "check") -> dict[str, dict[str, Any]]:
    """What a record holds, by name."""
    entries = [json.loads(line) for line in record.lines.read_text("utf-8").splitlines()]
    return {entry[kind]["name"]: entry[kind] for entry in entries if kind in entry}


def none_failed(checks: dict[str, dict[str, Any]]) -> None:
    assert {name: check["trace"] for name, check in checks.items() if check["status"] == "failed"} == {}


def test_all_heads_are_timed_and_judged(load: Any, record: Any, size: Any) -> None:
    load("device.heads").heads(record, size, name="h", target=1e-9, runs=1, more=True)
    checks = kept(record)
    none_failed(checks)
    more = ("lda", "tune crt", "fed crt", "fed tau_norm", "fed lws")
    assert set(checks) == {f"h/{name}" for name in ("joint", "ncm", "crt", "tau_norm", "lws", "all five", *more)}
    assert checks["h/fed lws"]["note"] == checks["h/lws"]["note"]
    five = [checks[f"h/{name}"]["seconds"] for name in ("joint", "ncm", "crt", "tau_norm", "lws")]
    assert checks["h/all five"]["seconds"] == pytest.approx([sum(turn) for turn in zip(*five, strict=True)])
    assert checks["h/all five"]["status"] == "missed"
    assert "balanced accuracy" in checks["h/crt"]["note"]


def test_the_heads_of_one_device_agree_with_themselves(load: Any, record: Any, size: Any) -> None:
    load("device.agreement").agreement(record, size)
    checks = kept(record)
    assert set(checks) == {f"agreement/{name}" for name in ("ncm", "crt", "tau_norm", "lws", "lda")}
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert {check["value"] for check in checks.values()} == {0.0}
    assert all("100.00 %" in check["note"] and "0.0e+00" in check["note"] for check in checks.values())


def test_another_head_does_not_agree(load: Any, record: Any, size: Any) -> None:
    agreement, heads = load("device.agreement"), load("device.heads")
    splits = heads.made(size, torch.device("cpu"))
    rebalance = load("rebalance")
    ours = rebalance.methods.ncm(None, *splits["train"])
    theirs = rebalance.LinearHead(ours.weight.roll(1, dims=0), ours.bias.roll(1))
    agreement._compare(record, "a", ours, lambda: theirs, splits["test"], splits["test"])
    assert kept(record)["a"]["status"] == "missed"


def test_figures_and_their_intervals_are_timed(load: Any, record: Any) -> None:
    load("device.judging").judging(record, rows=300, classes=8, target=LONG, runs=2)
    checks = kept(record)
    assert set(checks) == {f"evaluate/{name}" for name in ("figures", "with intervals", "replicates")}
    assert {check["status"] for check in checks.values()} == {"ok"}


def test_a_split_is_fed_whole_and_right(load: Any, record: Any) -> None:
    load("device.feeding").feeding(record, rows=70, width=8, classes=3, block=16, runs=1)
    checks = kept(record)
    none_failed(checks)
    assert checks["feed/right rows"]["value"] == 1.0
    assert checks["feed/blocks and a product, rate"]["value"] > 0


def test_rows_that_arrive_wrong_are_seen(load: Any) -> None:
    feeding = load("device.feeding")
    features, labels = feeding._made(8, 4, 3)
    there = torch.from_numpy(features.copy())
    there[2, 1] += 1
    blocks = iter([(there[:5], torch.from_numpy(labels[:5])), (there[5:], torch.from_numpy(labels[5:]))])
    assert feeding._as_stored(blocks, features, labels) == 7 / 8


def test_training_is_timed_in_each_precision(load: Any, record: Any) -> None:
    load("device.training").training(
        record, model="convnet", steps=2, batch=4, pixels=16, precisions=("off", "bf16", "fp16")
    )
    checks = kept(record)
    assert checks["train/convnet/off"]["status"] == checks["train/convnet/bf16"]["status"] == "ok"
    assert checks["train/convnet/next to a bare loop"]["value"] > 0
    assert "needs a CUDA device" in checks["train/convnet/fp16"]["error"]  # and what followed it was done


def test_extraction_is_compared_in_every_way(load: Any, record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    extraction, compiled = load("device.extraction"), []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    ways = list(extraction.WAYS)
    extraction.extraction(record, {"convnet": ways}, batches=3, batch=4, pixels=16, pairs=1)
    checks = kept(record)
    none_failed(checks)
    assert list(checks) == [f"extract/convnet/{way}" for way in ways]
    assert all(check["value"] > 0 and len(check["seconds"]) == 1 for check in checks.values())
    assert len(compiled) > 1  # on each side


def test_every_part_is_offered_and_asks_for_what_there_is(
    load: Any, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = load("device.parts").PARTS
    assert tuple(parts) == load("gpu").NAMES
    modules = "cuda_tests.run agreement.agreement heads.heads judging.judging feeding.feeding training.training"
    for name, path in zip(parts, [*modules.split(), "heads.heads", "extraction.extraction"], strict=True):
        module, _, function = path.partition(".")
        called = create_autospec(getattr(load(f"device.{module}"), function))
        with monkeypatch.context() as patch:
            patch.setattr(load(f"device.{module}"), function, called)
            for quick in (False, True):
                parts[name](record, quick=quick)
        assert called.call_count == 2
    models, ways = load("device.images").MODELS, load("device.extraction").WAYS
    for wanted in (load("device.parts").WAYS, load("device.parts").FEW_WAYS):
        assert set(wanted) <= set(models)
        assert {way for each in wanted.values() for way in each} <= set(ways)


def test_a_failure_is_kept_and_the_rest_goes_on(record: Any) -> None:
    assert record.timed("bad", lambda: 1 / 0, runs=1) is None
    assert record.timed("good", lambda: 7, runs=2, at_most=LONG, note=str).result == 7
    checks = kept(record)
    assert checks["bad"]["error"] == "ZeroDivisionError: division by zero"
    assert "1 / 0" in checks["bad"]["trace"]
    assert (checks["good"]["status"], len(checks["good"]["seconds"]), checks["good"]["note"]) == ("ok", 2, "7")


@pytest.mark.parametrize(
    ("bounds", "status"),
    [({"at_least": 3}, "ok"), ({"at_least": 3.1}, "missed"), ({"at_most": 3}, "ok"), ({"at_most": 2.9}, "missed")],
)
def test_a_target_is_met_or_missed(record: Any, bounds: Any, status: str) -> None:
    record.found("x", 3.0, "s", **bounds)
    assert kept(record)["x"]["status"] == status


ONE_LINE = 'import sys; open(sys.argv[1], "a").write(\'{"check": {"name": "x", "status": "ok"}}\\n{"half\'); '


@pytest.mark.parametrize(
    ("then", "limit", "error"),
    [
        ("", LONG, None),
        ("print('at the end'); sys.exit(3)", LONG, "its process ended with 3"),
        ("import os; os.abort()", LONG, "its process ended with -6"),
        ("import time; print('at the end', flush=True); time.sleep(600)", 3.0, "stopped: not done after 3 s"),
    ],
)
def test_a_part_that_dies_keeps_what_it_found(load: Any, then: str, limit: float, error: str | None) -> None:
    running = load("device.running")
    results = running.Results()
    running.run_one("p", [sys.executable, "-c", ONE_LINE + then], [], limit, results)
    assert results.checks[0] == {"name": "x", "status": "ok"}
    assert [check["error"] for check in results.checks[1:]] == ([] if error is None else [error])
    if "at the end" in then:
        assert results.checks[1]["trace"].strip() == "at the end"


def test_a_part_is_a_process_that_says_what_it_lacks(load: Any) -> None:
    running, results = load("device.running"), load("device.running").Results()
    with load("device.checkout").importable():
        command = [sys.executable, "-m", "device.part", "nothing", "cpu"]
        running.run_one("nothing", command, ["--quick"], LONG, results)
    assert [(check["name"], check["error"]) for check in results.checks] == [("nothing", "KeyError: 'nothing'")]


def test_the_results_are_one_file_with_everything(
    load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    assert load("gpu").measure("cpu", ["heads", "feed"], out, quick=True, limit=0.0) == 1
    found = json.loads(out.read_text("utf-8"))
    assert (found["schema"], found["quick"], found["about"]["device"]) == (1, True, "cpu")
    assert found["about"]["torch"] == torch.__version__
    assert [check["name"] for check in found["checks"]] == ["heads", "feed"]
    assert {check["status"] for check in found["checks"]} == {"failed"}
    said = capsys.readouterr().out
    assert "FAILED  heads: not begun" in said
    assert "0 ok, 0 MISSED, 2 FAILED" in said
    assert list(tmp_path.iterdir()) == [out]


def test_without_a_device_or_a_package_it_says_so_in_a_line(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = load("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^no CUDA device: [^\n]*$"):
        gpu.main()
    monkeypatch.setattr(gpu, "missing", lambda names: ["h5py"])
    with pytest.raises(SystemExit, match=r"^not installed here: h5py; [^\n]*$"):
        gpu.main()


def test_a_plain_checkout_is_enough(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = load("device.checkout")
    monkeypatch.setattr(checkout, "missing", lambda names: ["rebalance_cli"])
    path = sys.path[:]
    code = "import rebalance_cli.main as m; from importlib.metadata import version; print(m.__file__, version('torch'))"
    with checkout.importable() as installed:
        assert not installed
        run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.startswith(os.path.join(sys.path[0], "rebalance_cli", "main.py"))
    assert sys.path == path
    assert "PYTHONPATH" not in os.environ or str(BENCHMARKS) not in os.environ["PYTHONPATH"]


TESTS = """
import pytest
pytestmark = pytest.mark.{mark}
def test_right(): pass
def test_wrong(): assert 1 == 2, "they differ"
def test_absent(): pytest.importorskip("no_such_package")
@pytest.fixture
def broken():
    yield
    raise RuntimeError("left behind")
def test_left(broken): pass
"""


def test_every_test_is_told_with_its_reason(load: Any, record: Any, tmp_path: Path) -> None:
    """In a process of its own, as pytest does not run within itself."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["cuda: x"]\n')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(TESTS.format(mark=load("device.cuda_tests").MARK))
    (tmp_path / "tests" / "test_b.py").write_text("raise OSError('not even read')")
    code = (
        f"import sys; from pathlib import Path; import torch; from device import cuda_tests, place, record\n"
        f"to = record.Record(place.Place(torch.device('cpu')), Path({str(record.lines)!r}))\n"
        f"cuda_tests.run(to, Path({str(tmp_path)!r}))"
    )
    with load("device.checkout").importable():
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=LONG)
    tests = kept(record, "test")
    assert {name.partition("::")[2]: test["outcome"] for name, test in tests.items()} == {
        "test_right": "passed",
        "test_wrong": "failed",
        "test_absent": "skipped",
        "test_left": "failed",
    }
    assert "they differ" in tests["tests/test_a.py::test_wrong"]["why"]
    assert "no_such_package" in tests["tests/test_a.py::test_absent"]["why"]
    assert "left behind" in tests["tests/test_a.py::test_left"]["why"]
    assert kept(record)["tests"]["status"] == "failed"


def test_the_projects_own_marked_tests_are_found(load: Any) -> None:
    files = load("device.cuda_tests").marked()
    assert any(file.endswith("methods/test_contract.py") for file in files)
    assert not any(file.endswith("test_house.py") for file in files)


def test_a_line_of_nvidia_smi_is_read(load: Any) -> None:
    description = load("device.description")
    assert description.parsed("580.1, P0, 1980, 1980, 3201, 3201, 40, 120.5, 700.0, 3\n")["clocks.sm"] == "1980"
    assert description.parsed("No devices were found") == description.parsed("") == {}
    assert description.clocks(torch.device("cpu")) == {}
