"""A row that cannot be read: what a data set raises, so that the extraction may pass over the row."""

from __future__ import annotations


class Unreadable(ValueError):
    """The message is one line: which row, and what is wrong with it.

    A data set of anyone's may raise it, or a subclass; every other exception of a data set ends the extraction.
    """

    def __init__(self, message: str) -> None:
        # A DataLoader rebuilds its worker's exception from the text of the traceback, which ends in our line.
        text = message.rstrip()
        for kind in type(self).__mro__:
            _, found, line = text.rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
            if found:
                text = line
                break
        super().__init__(text)
