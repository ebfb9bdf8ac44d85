"""What was found, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WORDS = {"ok": "ok", "missed": "MISSED", "failed": "FAILED"}


def summary(found: Mapping[str, Any]) -> str:
    """One line a check, then what failed and why. found: what the results file holds."""
    return "\n".join([*_head(found), "", *map(_line, found["checks"]), *_tests(found), "", _count(found)])


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    about = found["about"]
    capability = f" ({about['capability']})" if "capability" in about else ""
    driver = f", driver {found['clocks'][0]['driver_version']}" if found["clocks"][0] else ""
    yield f"{about['device']}{capability}{driver}, CUDA {about['cuda']}, torch {about['torch']}"
    yield from found["machine"]
    yield f"{'quick, ' if found['quick'] else ''}{found['seconds']:.0f} s in all; medians of the runs after one"


def _line(check: Mapping[str, Any]) -> str:
    if check["status"] == "failed":
        return f"FAILED  {check['name']}: {check['error']}"
    target = "" if check["target"] is None else f", target {check['target']:g}"
    memory = "" if check["peak"] is None else f", {check['peak'] / 1e9:.2f} GB at most"
    note = f"; {check['note']}" if check["note"] else ""
    return f"{WORDS[check['status']]:<8}{check['name']}: {check['value']:.4g} {check['unit']}{target}{memory}{note}"


def _tests(found: Mapping[str, Any]) -> Iterator[str]:
    for test in found["tests"]:
        if test["outcome"] != "passed":
            last = (test["why"].strip().splitlines() or ["no reason given"])[-1]
            yield f"{test['outcome'].upper():<8}{test['name']}: {last[:200]}"


def _count(found: Mapping[str, Any]) -> str:
    statuses = [check["status"] for check in found["checks"]]
    return ", ".join(f"{statuses.count(status)} {word}" for status, word in WORDS.items())
