"""WordNet's definitions by lexicographer file: a natural tail of texts, as averages of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from featurecache import write

from ..fetching import debian, making, needed, say, wheel
from .dividing import NAMES, by_class
from .study_set import StudySet

VECTORS = ("wordllama", "0.4.0.post1")
TEST, VAL = 100, 30  # definitions a class, at most
BATCH = 1024  # texts
NOUNS = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time"
)
VERBS = (
    "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather"
)
CLASSES = (  # in the order of their numbers
    *("adj.all", "adj.pert", "adv.all"),
    *(f"noun.{word}" for word in NOUNS.split()),
    *(f"verb.{word}" for word in VERBS.split()),
    "adj.ppl",
)


def prepare(work: Path) -> StudySet:
    """The set: a cache of features, for there is nothing to train and nothing to extract."""
    cache = work / "data" / "wordnet"
    if not cache.is_dir():
        needed("tokenizers", "tokenizers", "divides the definitions into tokens")
        definitions = debian(work, "wordnet-base") / "usr/share/wordnet"
        vectors = wheel(work, *VECTORS) / "wordllama"
        with making(cache) as part:
            write_cache(definitions, vectors, part)
    return StudySet(
        name="wordnet",
        title="WordNet definitions (natural tail)",
        source="Debian package wordnet-base 3.0, WordNet licence, Princeton University; a definition is the mean "
        f"of its tokens' vectors in WordLlama (PyPI package {VECTORS[0]} {VECTORS[1]}, MIT); they know no classes.",
        shots=(500, 2000),
        cache=cache,
    )


def write_cache(definitions: Path, vectors: Path, cache: Path) -> None:
    """Writes the splits train, val and test. definitions: WordNet's data files. vectors: WordLlama's folder."""
    ids, labels, texts = read(definitions)
    say(f"wordnet: the features of {len(texts)} definitions")
    features = embedded(texts, vectors)
    parts = by_class(labels, test=TEST, val=VAL)
    for part, name in enumerate(NAMES):
        rows = np.flatnonzero(parts == part)
        named = [ids[row] for row in rows]
        write(cache, name, features[rows], labels[rows], sample_ids=named, class_names=CLASSES, seen=False)


def read(definitions: Path) -> tuple[list[str], npt.NDArray[np.int64], list[str]]:
    """Of every sense: its name, its lexicographer file and its definition."""
    ids, labels, texts = [], [], []
    for kind in ("noun", "verb", "adj", "adv"):
        for line in (definitions / f"data.{kind}").read_text("utf-8").splitlines():
            if not line.startswith("  "):  # the licence
                sense, _, text = line.rstrip().partition(" | ")
                offset, file, _, _, word = sense.split(" ")[:5]
                ids.append(f"{kind} {offset} {word}")
                labels.append(int(file))
                texts.append(text)
    return ids, np.array(labels), texts


def embedded(texts: Sequence[str], vectors: Path) -> npt.NDArray[np.float32]:
    """The mean vector of the tokens of every text, (N, 256); as WordLlama's own `embed` returns it."""
    from tokenizers import Tokenizer  # the other sets do without

    tokenizer = Tokenizer.from_file(str(next(vectors.glob("tokenizers/*.json"))))
    tokenizer.no_padding()
    (table,) = load_file(next(vectors.glob("weights/*.safetensors"))).values()
    features = np.empty((len(texts), table.shape[1]), np.float32)
    for start in range(0, len(texts), BATCH):
        made = tokenizer.encode_batch(list(texts[start : start + BATCH]), add_special_tokens=False)
        for row, tokens in enumerate(made, start):
            features[row] = table[tokens.ids].mean(0, dtype=np.float32)
    return features
