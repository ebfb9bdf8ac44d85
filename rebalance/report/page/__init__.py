"""One self-contained HTML page of everything that judged heads are: ``render(payload, drawings)``."""

from __future__ import annotations

from rebalance.report.page.rendering import render

__all__ = ["render"]
