"""Model folders, as save_pretrained of transformers writes them: which of their files hold the weights.

Of several kinds of weights beside one another, loaders take the first of these: the file that config.json names under
`transformers_weights`, model.safetensors, model.safetensors.index.json and its shards, pytorch_model.bin,
pytorch_model.bin.index.json and its shards. Where none of them is there, the one variant is taken, such as
model.fp16.safetensors or model.safetensors.index.fp16.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from featurecache.exporting.shard_index import read_index, read_object
from featurecache.layers import LISTED
from featurecache.quoting import shown

CONFIG, EXPLICIT, ADAPTER = "config.json", "transformers_weights", "adapter_config.json"
ORDER = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
WEIGHTS = re.compile(
    r"((tf_|flax_|rust_|pytorch_)?model([.-][\w.-]+)?\.(safetensors|bin|h5|msgpack|onnx|ot|tflite|gguf))"
    r"(\.index(\.[\w-]+)?\.json)?"
)
INDEX = re.compile(r"(\.\w+)\.index(\.[\w-]+)?\.json$")


@dataclass(frozen=True)
class ModelFolder:
    """Where the weights of a model folder are.

    path: the folder.
    index: the name of the index, or None where the weights are one file.
    shards: the file of every tensor by the tensor's name, as the index says; empty without an index.
    files: the names of the files with the weights, each once.
    """

    path: Path
    index: str | None
    shards: dict[str, str]
    files: tuple[str, ...]

    def holds(self, name: str) -> bool:
        """Whether a file of the folder is one of those that a loader takes."""
        return name == self.index or name in self.files


def model_folder(path: Path) -> ModelFolder:
    """Where the weights of a folder are; nothing outside the folder is read.

    path: the folder.
    Raises ValueError when it has no weights, those of several variants, or an index that is refused.
    """
    if (path / ADAPTER).exists():
        raise ValueError(
            f"folder {shown(path)} holds an adapter ({ADAPTER}), which changes a model when it is loaded; merge it "
            "into the model (merge_and_unload) and save that"
        )
    name = _loaded(path)
    index = INDEX.search(name)
    if index is None:
        member(path, name)
        return ModelFolder(path, None, {}, (name,))
    shards = read_index(member(path, name), index[1])
    files = tuple(dict.fromkeys(shards.values()))
    for file in files:
        member(path, file)
    return ModelFolder(path, name, shards, files)


def member(folder: Path, name: str) -> Path:
    """The path of a regular file in a folder.

    folder: where it must lie. A link may lead to another file of the folder, and out of a snapshot in the Hugging Face
        hub's cache to the blobs of the same model, where all files of such folders are.
    name: of the file, or its path inside the folder.
    Raises ValueError when it is not there, no regular file, or a link that leads out.
    """
    path = folder / name
    root = folder.resolve()
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
        raise ValueError(f"folder {shown(folder)} has no file {shown(name)}, or one that leads nowhere") from None
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise ValueError(f"{shown(path)} is a link that leads out of its folder; put the file itself there")
    if not target.is_file():
        raise ValueError(f"{shown(path)} is not a regular file")
    return path


def _loaded(path: Path) -> str:
    """The name of the file, or of the index, that a loader begins with."""
    names = sorted(child.name for child in path.iterdir())
    if CONFIG in names:
        named = read_object(member(path, CONFIG)).get(EXPLICIT)
        if named is not None:
            if named not in names or not str(named).endswith((".safetensors", ".safetensors.index.json")):
                raise ValueError(
                    f"{shown(path / CONFIG)} names {str(named)[:160]!r} as {EXPLICIT}; expected a .safetensors file, "
                    "or the index of such files, in the folder"
                )
            return str(named)
    for wanted in ORDER:
        if wanted in names:
            return wanted
    for wanted in ORDER:
        stem, _, ending = wanted.rpartition(".")
        variant = re.compile(rf"{re.escape(stem)}\.(?!index)(?!.*-\d+-of-\d+\.)[\w-]+\.{ending}")
        variants = [name for name in names if variant.fullmatch(name)]
        if len(variants) > 1:
            raise ValueError(
                f"folder {shown(path)} holds {len(variants)} variants of the weights "
                f"({', '.join(map(shown, variants[:LISTED]))}); leave the one that is meant in it"
            )
        if variants:
            return variants[0]
    raise ValueError(f"folder {shown(path)} holds no weights; expected {', '.join(ORDER[:-1])} or {ORDER[-1]}")
