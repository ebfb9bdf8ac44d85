"""docs/scale.md: what was measured, and the plan on paper that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extracting.growth import ALLOWED

from growing import fitting, paper, setting
from growing.figure import draw
from growing.limits import limits
from growing.report import PASS, grown_of, speeds_of, timed
from growing.setting import Line
from growing.slopes import FROM, STEEPEST, Growth, at
from growing.wording import NOTHING, PAGE, WHY

FIGURE = Path("figures") / "scale"
CACHED = 2 * 64 + 8 + 8 + 1  # bytes of a measured row, but for its id


def write_page(found: Mapping[str, Any], docs: Path) -> None:
    """Write docs/scale.md and docs/figures/scale/growth.{svg,png}."""
    draw(found, docs / FIGURE)
    (docs / "scale.md").write_text(page(found), "utf-8")


def page(found: Mapping[str, Any]) -> str:
    """The text of the page."""
    grown = grown_of(found)
    most = found["sizes"][-1]
    verified = (CACHED + len(str(most - 1))) / grown["verify"].row_seconds
    return PAGE.format(
        machine="\n".join(found["machine"].splitlines()),
        most=f"{most:,}",
        least=f"{found['sizes'][0]:,}",
        since=f"{FROM:,}",
        steepest=STEEPEST,
        allowed=ALLOWED,
        growth=_growth(found, grown),
        why=_why(grown),
        processes=_processes(found),
        killed=_killed(found),
        settings=_settings(),
        storage=_lines(paper.storage(verified)),
        computing=_lines(paper.computing(grown[PASS].row_seconds)),
        traffic=_table(["fit", "passes", "bytes a process adds up", *_sizes()], fitting.traffic()),
        costs=_table(_costs_header(), fitting.costs(grown)),
        descent=_lines(fitting.descent()),
        evaluations=fitting.EVALUATIONS,
        ratio=f"{fitting.PRODUCTS:.0f}",
        limits=_table(
            ["", "what ends", "at rows", "because", "what helps"],
            [
                [str(place), each.what, setting.number(each.rows), each.formula, each.remedy]
                for place, each in enumerate(limits(grown), start=1)
            ],
        ),
    )


def _sizes() -> list[str]:
    return [f"10{'⁸' if rows == 10**8 else '⁹'} rows" for rows in setting.SIZES]


def _costs_header() -> list[str]:
    memory, cores = ([f"{what}, {rows}" for rows in _sizes()] for what in ("memory of a node", "core hours"))
    return ["fit", "bytes a row", *memory, *cores]


def _growth(found: Mapping[str, Any], grown: Mapping[str, Growth]) -> str:
    rows = []
    for name, each in grown.items():
        runs, of = timed(found, name)
        seconds = [f"{at(runs, size, f'{of}seconds'):.2f}" for size in found["sizes"]]
        reach = "" if each.low is None else f" ({each.low:.2f} to {each.high:.2f})"
        slope = "–" if each.slope is None else f"{each.slope:.2f}{reach}"
        speed = f"{1 / each.row_seconds:,.0f}" if each.row_seconds > 0 else "–"
        top = f"{at(runs, found['sizes'][-1], f'{of}anonymous') / 1e6:,.0f}"
        resident = "–" if of else f"{at(runs, found['sizes'][-1], 'resident') / 1e6:,.0f}"
        words = [_word(each.linear, "linear"), _word(each.flat, "flat")]
        rows.append([name, *seconds, speed, slope, top, resident, f"{each.row_bytes:.0f}", *words])
    sizes = [f"{size:,} rows, s" for size in found["sizes"]]
    header = ["", *sizes, "rows/s of a core", "slope", "MB", "MB with files", "bytes a row", "time", "memory"]
    return _table(header, rows)


def _word(met: bool | None, word: str) -> str:
    return "–" if met is None else word if met else f"**not {word}**"


def _why(grown: Mapping[str, Growth]) -> str:
    """A line for everything that is not as it should be."""
    names = [name for name, each in grown.items() if each.linear is False or not each.flat]
    return "\n".join(f"- **{name}**: {WHY.get(name, 'not explained yet.')}" for name in names) or NOTHING


def _processes(found: Mapping[str, Any]) -> str:
    rows = []
    for each in found["processes"]:
        extracted, fitted = speeds_of(each)
        rows.append([str(each["processes"]), f"{extracted:,.0f}", f"{fitted:,.0f}", f"{each['start_seconds']:.1f} s"])
    return _table(["processes", "extract, rows/s", "crt --tol 0.1, rows/s", "start of a job"], rows)


def _killed(found: Mapping[str, Any]) -> str:
    rows = [
        [
            " → ".join(map(str, each["worlds"])),
            ", ".join(f"{rows:,}" for rows in each["kept"]),
            f"{each['again']:,}",
            "the same" if each["same"] else "**others**",
            "every byte" if each["verified"] else "**no**",
        ]
        for each in found["killed"]
    ]
    return _table(["processes", "rows safe after each kill", "computed again", "bytes in the end", "verified"], rows)


def _settings() -> str:
    images = ", ".join(f"{name} {each / 1e9:g} GFLOP" for name, each in setting.IMAGES.items())
    return (
        f"D = {setting.WIDTH:,} columns in float16, K = {setting.CLASSES:,} classes, ids of {setting.ID_BYTES} bytes, "
        f"batches of {setting.BATCH}; {setting.NODES} nodes of {setting.RANKS_A_NODE} ranks and "
        f"{setting.MEMORY / 1e9:g} GB each, joined by 100 Gbit/s; a GPU that reaches {setting.GPU / 1e12:g} TFLOP/s; "
        f"an image costs: {images}"
    )


def _lines(lines: Iterable[Line]) -> str:
    return _table(["", "how", *_sizes()], [[each.what, each.formula, *each.values] for each in lines])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruled = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)
