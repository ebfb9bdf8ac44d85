"""Where a Hugging Face model comes from: a folder, or a name on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurecache.python_function import failure
from featurecache.quoting import shown

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    name: a folder, or a name on the Hugging Face hub.
    local: whether it is a folder; then nothing is ever asked of a network.
    """

    name: str
    local: bool

    def __str__(self) -> str:
        return shown(f"hf:{self.name}")

    def options(self) -> dict[str, Any]:
        """What every from_pretrained of transformers is told; code that comes with a model is never run."""
        return {"local_files_only": self.local, "trust_remote_code": False}

    def refusal(self, error: Exception) -> ValueError:
        """Why nothing could be loaded, on one line, with the way out.

        error: of the network, the hub or transformers.
        """
        problem = failure(error)[:200]
        if "trust_remote_code" in str(error):
            return ValueError(
                f"{self} brings Python code of its own, which is never run here; if you trust it, load it in a "
                "function of your own and pass --model file:path.py:function"
            )
        if self.local:
            return ValueError(f"{self} is no model folder of transformers that can be read: {problem}")
        return ValueError(f"{self} could not be fetched; download its files and pass hf:FOLDER ({problem})")


def origin_of(name: str) -> Origin:
    """The origin that a name means.

    name: a folder, or a name on the hub.
    Raises ValueError for anything else; the hub is not asked.
    """
    if Path(name).is_dir():
        return Origin(name, local=True)
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(
            f"{Origin(name, local=True)} is no folder and no name of a model; expected hf:FOLDER or hf:OWNER/NAME"
        )
    return Origin(name, local=False)
