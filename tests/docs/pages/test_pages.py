"""Every page's blocks run, in their order, in the folder that the page asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_its_blocks_run(
    running_page: Any, run_page: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    world = running_page.world
    run_page(running_page.path, tmp_path if world is None else request.getfixturevalue(f"{world}_world"))
