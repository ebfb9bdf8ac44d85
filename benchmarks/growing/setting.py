"""What the plan on paper supposes: the rows, the machines, and what the measurements say of them."""

from __future__ import annotations

from dataclasses import dataclass

SIZES = (10**8, 10**9)
WIDTH, CLASSES, ID_BYTES, BATCH = 1024, 1000, 16, 256
NODES, RANKS_A_NODE = 8, 8
RANKS = NODES * RANKS_A_NODE
MEMORY = 512e9  # bytes a node
OPEN_FILES = 524_288  # of a process, the hard limit that systemd sets; a process raises its own soft one as it needs
BANDWIDTHS = {  # bytes a second of all nodes together
    "one local NVMe disk, 3 GB/s": 3e9,
    "10 Gbit/s Ethernet, 1.25 GB/s": 1.25e9,
    "parallel file system, 20 GB/s": 20e9,
}
NETWORK = 12.5e9  # bytes a second and node: 100 Gbit/s
LATENCY = 50e-6  # seconds of an all-reduce of nothing
RANDOM_READS = {"one local NVMe disk": 5e5, "network storage": 2e4}  # a second
GPU = 100e12  # operations a second that are reached, about a third of what an A100 promises in half precision
IMAGES = {"ResNet-50 at 224 pixels": 8.2e9, "ViT-L/16 at 224 pixels": 123e9}  # operations an image, two a multiply-add
DECODING = 10e-3  # seconds of a core to decode and resize a photo


@dataclass(frozen=True)
class Line:
    """A number on paper. formula: how it comes about. values: at every one of SIZES."""

    what: str
    formula: str
    values: tuple[str, ...]


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def span(seconds: float) -> str:
    """Seconds in words."""
    for unit, most in (("s", 120.0), ("min", 60.0), ("h", 48.0)):
        if seconds < most:
            return f"{seconds:.3g} {unit}"
        seconds /= 60.0 if unit != "h" else 24.0
    return f"{seconds:.3g} days"


def number(count: float) -> str:
    """A count: in full, or as a power of ten."""
    return f"{round(count):,}" if count < 1e7 else f"{count:.2g}".replace("e+0", "e").replace("e+", "e")
