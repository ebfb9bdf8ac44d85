"""What was measured, as text: a table of sizes, one of growth, the processes, the kills, and the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extracting.growth import ALLOWED
from speed.measure import verdict

from growing.slopes import FROM, STEEPEST, Growth, at, growth

PASS, WHOLE = "extract, the pass", "extract, all of it"


def grown_of(found: Mapping[str, Any]) -> dict[str, Growth]:
    """The growth of every task; that of the extraction also of its pass alone, before its end is judged."""
    runs = found["growth"]
    passed = {PASS: growth(runs["extract"], of="pass_")}
    return passed | {WHOLE if name == "extract" else name: growth(each) for name, each in runs.items()}


def report(found: Mapping[str, Any]) -> tuple[str, bool]:
    """The text, and whether all targets are met."""
    grown = grown_of(found)
    lines = [found["machine"], "", *_sizes(found), ""]
    targets: dict[str, bool] = {}
    for name, each in grown.items():
        if each.slope is not None:
            reach = "" if each.low is None else f" ({each.low:.2f} .. {each.high:.2f})"
            targets[f"{name}: time grows like N^{each.slope:.2f}{reach}; target {STEEPEST}"] = bool(each.linear)
        targets[f"{name}: memory grows by {each.row_bytes:.0f} bytes a row; target {ALLOWED}"] = each.flat
    lines += [f"  {what}: {verdict(met)}" for what, met in targets.items()]
    lines += ["", *_processes(found)]
    killed = {_killed(each): each["same"] and each["verified"] and not each["again"] for each in found["killed"]}
    lines += ["", *(f"  {what}: {verdict(met)}" for what, met in killed.items())]
    return "\n".join(lines) + "\n", all(targets.values()) and all(killed.values())


def timed(found: Mapping[str, Any], name: str) -> tuple[list[dict[str, Any]], str]:
    """The runs of a task, and what its figures begin with."""
    return found["growth"]["extract" if name in (PASS, WHOLE) else name], "pass_" if name == PASS else ""


def _sizes(found: Mapping[str, Any]) -> list[str]:
    sizes = found["sizes"]
    lines = [f"seconds, median (MB of anonymous memory at most), by rows; slopes from {FROM:,} rows on"]
    lines.append(f"{'':<22}" + "".join(f"{rows:>20,}" for rows in sizes))
    for name in grown_of(found):
        runs, of = timed(found, name)
        cells = [
            f"{at(runs, rows, f'{of}seconds'):.2f} ({at(runs, rows, f'{of}anonymous') / 1e6:,.0f})" for rows in sizes
        ]
        lines.append(f"{name:<22}" + "".join(f"{cell:>20}" for cell in cells))
    return lines


def _processes(found: Mapping[str, Any]) -> list[str]:
    lines = ["processes under torchrun, rows a second"]
    for each in found["processes"]:
        extracted, fitted = speeds_of(each)
        lines.append(f"  {each['processes']}: extract {extracted:,.0f}, crt --tol 0.1 {fitted:,.0f}")
    return lines


def speeds_of(each: Mapping[str, Any]) -> tuple[float, float]:
    """Rows a second of the extraction and of the fit."""
    return each["extracted"] / each["extract_seconds"], each["fitted"] / max(each["fit_seconds"], 1e-9)


def _killed(each: Mapping[str, Any]) -> str:
    worlds = " → ".join(map(str, each["worlds"]))
    kept = ", ".join(f"{rows:,}" for rows in each["kept"])
    return f"{worlds} processes: {kept} rows safe after the kill, {each['again']} computed again, the same bytes"
