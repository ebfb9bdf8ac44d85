"""transformers, imported where it is installed and kept quiet while it loads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from featurecache.models.torchvision.library import import_torchvision
from featurecache.python_function import failure


def import_transformers() -> ModuleType:
    """transformers itself. Raises ValueError when it is not installed, or does not work."""
    with suppress(ModuleNotFoundError):  # it does without torchvision, but not with a half of it
        import_torchvision()
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Hugging Face models need transformers, and {error.name} is not installed: install the extra, "
            "pip install 'featurecache-rebalance[hf]'"
        ) from error
    except ImportError as error:  # it checks the versions of what it needs
        raise ValueError(f"transformers is installed and cannot be imported: {failure(error)}") from error
    return transformers


@contextmanager
def quiet(transformers: ModuleType) -> Iterator[None]:
    """No progress bars and no advice of transformers' while the block runs; afterwards as before.

    transformers: as import_transformers gives it.
    """
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
