"""The example of definitions, run as its README says, with a dictionary and an encoder of a few rows and numbers."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from featurecache import FeatureCache
from featurecache.inputs import call
from featurecache.models.huggingface.library import import_transformers
from featurecache.python_function import function_of
from rebalance_cli.main import cli

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "wordnet"
WORDS = ["a", "small", "grey", "animal", "that", "runs", "to", "move", "in", "water"]
ROWS = {"noun": [(5, 24), (18, 12)], "verb": [(38, 8)], "adj": [(0, 16), (44, 6)], "adv": [(2, 5)]}  # file, definitions
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's file in a folder of its own, with data of the real formats beside it."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    folder = tmp_path_factory.mktemp("wordnet")
    shutil.copy(EXAMPLE / "wordnet.py", folder)
    _dictionary(folder / "data" / "wordnet")
    _encoder(folder / "data" / "minilm")
    return folder / "wordnet.py"


def _dictionary(folder: Path) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, files in ROWS.items():
        lines = ["  1 This software and database is being provided | to you"]
        for file, rows in files:
            for row in range(rows):
                text = " ".join(random.choice(WORDS, size=random.integers(2, 9)))
                sense = f"{file * 1000 + row:08} {file:02} {part[0]} 01 word_{row} 0 000"
                lines.append(f'{sense} | {text}; "it says | so"  ')
        (folder / f"data.{part}").write_text("\n".join(lines) + "\n", "utf-8")


def _encoder(folder: Path) -> None:
    transformers = import_transformers()
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)


@pytest.fixture(scope="module")
def made(example: Path) -> SimpleNamespace:
    """The model, its transform and the three splits."""
    module, tokens = function_of(f"{example}:model", "model")()
    return SimpleNamespace(
        module=module.eval(),
        **{split: function_of(f"{example}:{split}", "data")(transform=tokens) for split in SPLITS},
    )


def test_every_definition_is_in_one_split_and_the_rarest_class_in_all(made: SimpleNamespace) -> None:
    ids = [name for split in SPLITS for name in getattr(made, split).sample_ids]
    assert len(ids) == len(set(ids)) == sum(rows for files in ROWS.values() for _, rows in files)
    rarest = [getattr(made, split).labels.count(44) for split in SPLITS]
    assert rarest == [4, 1, 1]
    assert [made.train.class_names[file] for file in (5, 18, 38, 44)] == [
        "noun.animal", "noun.person", "verb.motion", "adj.ppl",
    ]  # fmt: skip
    assert {name.split()[0] for name in ids} == set(ROWS)


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


def _program(*words: object) -> Any:
    run = CliRunner().invoke(cli, [*(str(word) for word in words), "--json"])
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


def test_the_commands_of_the_readme_lead_to_a_table(example: Path, made: SimpleNamespace, tmp_path: Path) -> None:
    cache, head = tmp_path / "wordnet.cache", tmp_path / "crt.safetensors"
    splits = [part for split in SPLITS for part in ("--split", f"{split}=file:{example}:{split}")]
    _program("extract", cache, "--no-head", "--model", f"file:{example}:model", "--seen", "none", *splits)
    opened = FeatureCache(cache)
    assert not opened.has_head
    assert list(opened["train"].labels) == made.train.labels
    with torch.inference_mode():
        expected = call(made.module, made.test.collate([made.test[row] for row in range(len(made.test))])[0])
    np.testing.assert_allclose(opened["test"].features[:], expected.numpy(), atol=1e-3)  # stored in float16
    _program("fit", "crt", cache, "--out", head)
    (judged,) = _program("evaluate", cache, head)["heads"]
    assert 0 <= judged["balanced"] <= 1
