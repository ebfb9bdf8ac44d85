"""WordNet's definitions through a small language model: features of something that is not an image.

The task: which of WordNet's 45 lexicographer files does a definition belong to? `adj.all` holds 14,435 of them,
`noun.motive` 42. The model has never seen the labels. README.md, beside this file, has the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache.models.huggingface.library import import_transformers, quiet

DATA = Path(__file__).resolve().parent / "data"
DEFINITIONS = DATA / "wordnet"  # data.noun, data.verb, data.adj, data.adv
ENCODER = DATA / "minilm"  # config.json, model.safetensors, tokenizer.json, …
TRAIN, VAL, TEST = 10_000, 20, 30  # rows in all; at most so many a class; likewise
TOKENS = 64  # of a definition; hardly one is longer
NAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition "
    "noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object "
    "noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape "
    "noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition "
    "verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession "
    "verb.social verb.stative verb.weather adj.ppl"
)
FILES = tuple(NAMES.split())


class Tokens:
    """Called with n texts: a mapping of (n, tokens) tensors, which are the encoder's keyword arguments."""

    def __init__(self) -> None:
        transformers = import_transformers()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(ENCODER, local_files_only=True)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        made = self._tokenizer(list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
        return {name: made[name] for name in ("input_ids", "attention_mask")}

    def describe(self) -> str:
        """What is done to a text, in one line: the cache records it."""
        return f"the tokenizer of {ENCODER.name}, at most {TOKENS} tokens"


class Encoder(nn.Module):
    """A unit vector (B, 384) a text: the mean of its tokens' vectors."""

    def __init__(self) -> None:
        super().__init__()
        transformers = import_transformers()
        with quiet(transformers):
            self.tokens = transformers.AutoModel.from_pretrained(ENCODER, local_files_only=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.tokens(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        counts = attention_mask[:, :, None].to(vectors.dtype)  # padding counts nothing
        return nn.functional.normalize((vectors * counts).sum(1) / counts.sum(1))


class Definitions(Dataset[tuple[str, int]]):
    """Items (definition, lexicographer file).

    rows: (name, label, definition) of every item. tokens: makes the model's inputs of a batch of them.
    """

    def __init__(self, rows: Sequence[tuple[str, int, str]], tokens: Any) -> None:
        self.sample_ids = [name for name, _, _ in rows]
        self.labels = [label for _, label, _ in rows]
        self.class_names = FILES
        self._texts = [text for _, _, text in rows]
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, row: int) -> tuple[str, int]:
        return self._texts[row], self.labels[row]

    def collate(self, items: Sequence[tuple[str, int]]) -> tuple[dict[str, Tensor], Tensor]:
        """A batch: what the model is called with, and the labels."""
        texts, labels = zip(*items, strict=True)
        return self._tokens(texts), torch.tensor(labels)


def model() -> tuple[nn.Module, Tokens]:
    """The encoder, and what its inputs are made with."""
    return Encoder(), Tokens()


def train(transform: Any) -> Definitions:
    """Some of what validation and test leave, as unevenly spread over the classes as WordNet itself."""
    return Definitions(parts()["train"], transform)


def val(transform: Any) -> Definitions:
    """The same number of every class, as far as they go."""
    return Definitions(parts()["val"], transform)


def test(transform: Any) -> Definitions:
    """Likewise."""
    return Definitions(parts()["test"], transform)


def parts() -> dict[str, list[tuple[str, int, str]]]:
    """The rows of every split: a class gives up to a quarter to the test, a sixth to validation, the rest to train.

    Texts of one length stand together, so that few batches are padded far.
    """
    random = np.random.default_rng(0)
    rows = read()
    rows = [rows[i] for i in random.permutation(len(rows))]
    taken: dict[str, list[tuple[str, int, str]]] = {"train": [], "val": [], "test": []}
    for label in range(len(FILES)):
        mine = [row for row in rows if row[1] == label]
        first, second = min(TEST, len(mine) // 4), min(VAL, len(mine) // 6)
        taken["test"] += mine[:first]
        taken["val"] += mine[first : first + second]
        taken["train"] += mine[first + second :]
    some = random.permutation(len(taken["train"]))[:TRAIN]
    taken["train"] = [taken["train"][i] for i in some]
    return {name: sorted(rows, key=lambda row: len(row[2])) for name, rows in taken.items()}


def read() -> list[tuple[str, int, str]]:
    """Every definition: its sense's name, its lexicographer file, and the text."""
    rows = []
    for part in ("noun", "verb", "adj", "adv"):
        with open(DEFINITIONS / f"data.{part}", encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("  "):  # the licence
                    sense, _, definition = line.rstrip().partition(" | ")
                    offset, file, _, _, word = sense.split(" ")[:5]
                    rows.append((f"{part} {offset} {word}", int(file), definition))
    return rows
