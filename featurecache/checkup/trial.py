"""A program: tries one optional package and says what came of it, as one line of JSON on stdout.

It is a process of its own because a package that is half there may crash, hang, or spoil the process that imports it.
Imports stand in the functions, so that a process pays for its own package alone.
Run: python featurecache/checkup/trial.py timm
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

SIDE = 64


def torchvision() -> str:
    """Its models and transforms."""
    from featurecache.models.torchvision.library import import_torchvision

    package = import_torchvision()
    models = importlib.import_module("torchvision.models")
    transforms = importlib.import_module("torchvision.transforms")
    read = transforms.Compose([transforms.Resize(SIDE), transforms.CenterCrop(SIDE), transforms.ToTensor()])
    _forward(models.squeezenet1_1(weights=None), read(_picture()))
    if "_declared_operators" in vars(package):
        return (
            "models and transforms run here, without nms and other C++ operators: it was built for another PyTorch. "
            "Your own `import torchvision` (or timm) fails beside it; featurecache.models.torchvision.library has "
            "import_torchvision() to call before"
        )
    return "models and transforms run"


def timm() -> str:
    """A model and its transform."""
    from featurecache.models.timm.library import import_timm

    package = import_timm()
    model = package.create_model("resnet10t", pretrained=False)
    config = package.data.resolve_data_config({}, model=model) | {"input_size": (3, SIDE, SIDE)}
    _forward(model, package.data.create_transform(**config, is_training=False)(_picture()))
    return f"{len(package.list_models()):,} architectures; one was built and run"


def transformers() -> str:
    """A tiny vision transformer with random weights."""
    from featurecache.models.huggingface.library import import_transformers

    package = import_transformers()
    config = package.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=16, patch_size=8
    )
    processor = package.ViTImageProcessor(size={"height": 16, "width": 16})
    pixels = processor(images=_picture(), return_tensors="pt")["pixel_values"]
    _forward(package.ViTForImageClassification(config), pixels[0])
    return "a small model was built and run"


def pyarrow() -> str:
    """A table through a parquet file in memory."""
    package = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    table, file = package.table({"labels": [1, 2, 3]}), io.BytesIO()
    parquet.write_table(table, file)
    if not parquet.read_table(io.BytesIO(file.getvalue()), use_threads=False).equals(table):
        raise ValueError("a table came back other than it was written")
    return "written and read"


def onnx() -> str:
    """A layer as an ONNX file, run by onnxruntime."""
    import tempfile
    from pathlib import Path

    import torch

    from featurecache.export import export_onnx, open_program

    layer, rows = torch.nn.Linear(3, 2), torch.ones(4, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        opset = export_onnx(layer, rows[:2], path)
        apart = float((open_program(path)(rows) - layer(rows)).abs().max())
    if not apart < 1e-5:
        raise ValueError(f"its logits are {apart:.2g} away from the layer's")
    return f"a layer was written (opset {opset}) and run"


TRIALS: dict[str, Callable[[], str]] = {
    "torchvision": torchvision,
    "timm": timm,
    "transformers": transformers,
    "pyarrow": pyarrow,
    "onnx": onnx,
}


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (SIDE, SIDE), (200, 20, 20))


def _forward(model: Any, image: Any) -> None:
    import torch

    with torch.inference_mode():
        out = model.eval()(image[None])
    logits = getattr(out, "logits", out)
    if logits.ndim != 2 or not bool(torch.isfinite(logits).all()):
        raise ValueError(f"its logits are of shape {tuple(logits.shape)}, or not finite")


def main(package: str) -> None:
    """Print {"said"}, {"absent"} or {"error"}."""
    answer, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (packages greet on stdout)
    warnings.simplefilter("ignore")
    try:
        there = importlib.util.find_spec(package) is not None
        found = {"said": TRIALS[package]()} if there else {"absent": package}
    except Exception as error:  # whatever a half-installed package makes of it
        found = {"error": f"{type(error).__name__}: {error}"[:2000]}
    print(json.dumps(found), file=answer, flush=True)
    os._exit(0)  # how a package winds up is not asked; pyarrow's threads crash there now and then


if __name__ == "__main__":
    main(sys.argv[1])
