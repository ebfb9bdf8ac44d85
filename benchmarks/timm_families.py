"""Is the classifier of every timm family found and proved, or refused for a true reason?

Run: python benchmarks/timm_families.py [--only vision_transformer,volo] [--seconds 300]
It takes about 15 minutes on two cores. Needs timm and torchvision; the weights are random, nothing is fetched.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

CLASSES = 1000
ROWS = 2  # pictures a batch
USUAL = 224  # pixels
PACKAGES = ("featurecache-rebalance", "torch", "torchvision", "timm")


def main() -> None:
    """Prints the machine, the versions, a line a family, and the sum."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="families, comma-separated (default: all that timm has)")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which a family is given up (default: 300)")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    print(
        f"the variant with the fewest parameters of each family, random weights, {CLASSES} classes, {ROWS} pictures of "
        "random numbers;\nlargest deviation of features @ weight.T + bias from the logits, over the largest logit\n"
    )
    print(f"{'family':<28}{'model':<36}{'layer':<34}{'float32':>9}{'bfloat16':>10}")
    proved, others = 0, []
    families = options.only.split(",") if options.only else _timm().list_modules()
    for family in families:
        result = in_own_process(family, options.seconds)
        line = f"{family:<28}{result.get('model', '-'):<36}"
        if "refused" in result:
            others.append(f"{family}: {result['refused']}")
            print(f"{line}refused, see below", flush=True)
        else:
            proved += 1
            print(f"{line}{result['layer']:<34}{result['float32']:>9.1e}{result['bfloat16']:>10.1e}", flush=True)
    rest = "".join(f"\n  {other}" for other in others) or " none"
    print(f"\n{proved} of {len(families)} families proved; the rest:{rest}")


def in_own_process(family: str, seconds: float) -> dict[str, Any]:
    """What `judged` says of a family; a crash or too long a time is a refusal."""
    context = multiprocessing.get_context("fork")  # timm is imported once, and not in every process
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(sender, family))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] = receiver.recv() if receiver.poll(seconds) else {}
    except EOFError:
        process.join()
        return {"refused": f"the process ended with {process.exitcode}"}
    process.kill()
    process.join()
    return result or {"refused": f"not done after {seconds:.0f} seconds"}


def send(sender: Connection, family: str) -> None:
    """Sends what `judged` says of a family."""
    sender.send(judged(family))


def judged(family: str) -> dict[str, Any]:
    """The model that stands for the family, its classifier and how far it is from the logits in both precisions."""
    import torch

    from featurecache.classifier import capture, find_classifier, prove

    torch.manual_seed(0)
    refused = "it has no models"
    for name in by_size(family):
        try:
            model = _timm().create_model(name, num_classes=CLASSES).eval()
            pictures = pictures_for(model)
        except Exception as error:  # whatever a constructor or a forward raises: the next smallest is tried
            refused = f"{name}: {type(error).__name__}: {error}"[:200]
            continue
        fill_zeros(model)
        result: dict[str, Any] = {"model": name}
        try:
            for precision in ("float32", "bfloat16"):
                low = precision == "bfloat16"
                with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
                    found = find_classifier(model, pictures)
                    with torch.no_grad(), capture(model, found) as captured:
                        logits = model(pictures)
                    deviation = prove(captured.features, found.weight, found.bias, logits)
                result |= {"layer": found.name, precision: deviation / float(logits.abs().max())}
        except ValueError as error:
            return {"model": name, "refused": str(error)}
        return result
    return {"refused": refused}


def pictures_for(model: Any) -> Any:
    """Random numbers as pictures, no larger than is usual where the model takes that.

    Raises ValueError for a model that does not make a row of logits of each: an encoder.
    """
    import torch

    config = _timm().data.resolve_data_config({}, model=model)
    channels, *size = config["input_size"]
    for tried in [size] if max(size) <= USUAL else [[USUAL, USUAL], size]:
        pictures = torch.randn(ROWS, channels, *tried)
        try:
            with torch.no_grad():
                output = model(pictures)
        except Exception:  # it is tied to its own size
            if tried is size:
                raise
        else:
            if isinstance(output, torch.Tensor) and output.shape == (ROWS, CLASSES):
                return pictures
            break
    raise ValueError("it has no classifier")


def by_size(family: str) -> Iterator[str]:
    """The names of the family's models, those with the fewest parameters first."""
    import torch

    sizes = {}
    for name in _timm().list_models(module=family):
        try:
            with torch.device("meta"):
                model = _timm().create_model(name, num_classes=CLASSES)
            sizes[name] = sum(value.numel() for value in model.parameters())
        except Exception:  # needs real numbers to be built: it comes last
            sizes[name] = sys.maxsize
    yield from sorted(sizes, key=lambda name: sizes[name])


def fill_zeros(model: Any) -> None:
    """Small random numbers in all parameters that are zero: with a head of zeros every formula is true."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)


def _timm() -> Any:
    from featurecache.models.torchvision.library import import_torchvision

    import_torchvision()
    import timm
    import timm.data

    return timm


if __name__ == "__main__":
    main()
