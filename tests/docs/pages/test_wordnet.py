"""The example of definitions: what its functions make of a dictionary and an encoder, and that the cache holds that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featurecache import FeatureCache
from featurecache.inputs import call
from featurecache.python_function import function_of

README = Path(__file__).resolve().parents[3] / "examples" / "wordnet" / "README.md"
ROWS = [24, 12, 8, 16, 6, 5]  # of the six lexicographer files
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def made(definitions: Path) -> SimpleNamespace:
    """The model, its transform and the three splits."""
    example = definitions / "wordnet.py"
    module, tokens = function_of(f"{example}:model", "model")()
    return SimpleNamespace(
        module=module.eval(),
        **{split: function_of(f"{example}:{split}", "data")(transform=tokens) for split in SPLITS},
    )


def test_every_definition_is_in_one_split_and_the_rarest_class_in_all(made: SimpleNamespace) -> None:
    ids = [name for split in SPLITS for name in getattr(made, split).sample_ids]
    assert len(ids) == len(set(ids)) == sum(ROWS)
    rarest = [getattr(made, split).labels.count(44) for split in SPLITS]
    assert rarest == [4, 1, 1]
    assert [made.train.class_names[file] for file in (5, 18, 38, 44)] == [
        "noun.animal", "noun.person", "verb.motion", "adj.ppl",
    ]  # fmt: skip
    assert {name.split()[0] for name in ids} == {"noun", "verb", "adj", "adv"}


def test_a_text_is_encoded_alike_in_any_batch(made: SimpleNamespace) -> None:
    items = [made.train[row] for row in range(len(made.train))]
    with torch.inference_mode():
        inputs, labels = made.train.collate(items)
        together = call(made.module, inputs)
        alone = torch.cat([call(made.module, made.train.collate([item])[0]) for item in items])
    assert labels.tolist() == made.train.labels
    assert (inputs["attention_mask"] == 0).any()  # something was padded
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)  # the order in which float32 kernels add
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(items)))


def test_the_commands_of_the_page_cache_what_the_encoder_gives(
    made: SimpleNamespace, wordnet_world: Path, run_page: Callable[..., object]
) -> None:
    run_page(README, wordnet_world)
    cache = FeatureCache(wordnet_world / "wordnet.cache")
    assert not cache.has_head
    assert list(cache["train"].labels) == made.train.labels
    with torch.inference_mode():
        expected = call(made.module, made.test.collate([made.test[row] for row in range(len(made.test))])[0])
    np.testing.assert_allclose(cache["test"].features[:], expected.numpy(), atol=1e-3)  # stored in float16
