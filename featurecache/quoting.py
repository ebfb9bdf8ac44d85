"""How a message shows a text that came from a stranger."""

from __future__ import annotations

MAX_SHOWN = 160


def shown(text: object) -> str:
    """The text quoted on one line, its middle cut out when it is long.

    text: a path, a name, a label: anything with a str().
    """
    quoted = repr(str(text))
    if len(quoted) <= MAX_SHOWN:
        return quoted
    half = MAX_SHOWN // 2
    return f"{quoted[:half]}…{quoted[-half:]}"
