"""A row that cannot be read: its one line survives a worker process, whatever the exception's own class."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from featurecache.unreadable import Unreadable


class Torn(Unreadable):
    """Somebody's own kind."""


class Shelf(Dataset[Any]):
    """Every row raises."""

    def __init__(self, kind: type[Unreadable]) -> None:
        self._kind = kind

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> Any:
        raise self._kind(f"page {row} is torn")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # how torch starts its workers
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [Unreadable, Torn])
def test_the_message_is_the_line_that_was_raised(kind: type[Unreadable], workers: int) -> None:
    with pytest.raises(kind) as caught:
        next(iter(DataLoader(Shelf(kind), num_workers=workers)))
    assert str(caught.value) == "page 0 is torn"
