"""Joint training: reproducible, the best epoch kept, and every failure in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import RandomSampler, TensorDataset

from featurecache.datasets import BadImage, ImageTransform, TrainTransform, open_images
from featurecache.models import ConvNet
from featurecache.training import train
from featurecache.training.sharing import Ranks

torch.manual_seed(0)
ROWS = 22
CENTRES = torch.randn(3, 4) * 3
LABELS = torch.arange(ROWS) % 3
DATA: Any = TensorDataset(CENTRES[LABELS] + torch.randn(ROWS, 4), LABELS)
OPTIONS: dict[str, Any] = {"loss": cross_entropy, "epochs": 3, "batch_size": 7, "lr": 0.1}


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Recorder:
    """Rows in order, and the epochs that were announced."""

    def __init__(self, rows: int = ROWS) -> None:
        self.rows, self.epochs = rows, list[int]()

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self) -> Any:
        return iter(range(self.rows))

    def __len__(self) -> int:
        return self.rows


def test_it_is_plain_sgd_with_the_cosine_rate() -> None:
    """Against the same steps written out: 22 rows in batches of 7 leave one row out."""
    model, sampler = nn.Linear(4, 3), Recorder()
    by_hand = nn.Linear(4, 3)
    by_hand.load_state_dict(model.state_dict())
    run = train(model, DATA, sampler=sampler, **OPTIONS, weight_decay=0.01, momentum=0.5)
    velocity = [torch.zeros_like(p) for p in by_hand.parameters()]
    means = []
    for epoch in range(3):
        losses = []
        for step in range(3):
            rows = slice(7 * step, 7 * step + 7)
            loss = cross_entropy(by_hand(DATA.tensors[0][rows]), LABELS[rows])
            gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
            rate = 0.1 * 0.5 * (1 + np.cos(np.pi * (3 * epoch + step) / 9))
            with torch.no_grad():
                for p, v, g in zip(by_hand.parameters(), velocity, gradients, strict=True):
                    v.mul_(0.5).add_(g + 0.01 * p)
                    p.sub_(rate * v)
            losses.append(loss.item())
        means.append(np.mean(losses))
    # The order of additions differs: a few ulps of float32.
    torch.testing.assert_close(model.weight, by_hand.weight, rtol=1e-5, atol=1e-6)
    assert [row["loss"] for row in run.history] == pytest.approx(means, rel=1e-5)
    assert sampler.epochs == [0, 1, 2]
    assert [row["lr"] for row in run.history] == pytest.approx([0.1, 0.075, 0.025])
    assert (run.best_epoch, run.best_score, run.steps) == (2, None, 9)


def test_equal_seeds_give_equal_weights_and_leave_torchs_generator_alone() -> None:
    def trained(seed: int) -> nn.Module:
        model = network()
        before = torch.get_rng_state()
        train(model, DATA, sampler=RandomSampler(DATA), **OPTIONS, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return model

    first = trained(4)
    torch.rand(5)
    assert equal(first, trained(4))
    assert not equal(first, trained(5))


def test_workers_are_seeded_too() -> None:
    def trained(seed: int) -> nn.Module:
        torch.manual_seed(1)
        model = ConvNet(10, channels=1, width=4, image_size=8)
        data = open_images("digits:val", transform=TrainTransform(ImageTransform(8, channels=1)))
        train(model, data, sampler=range(40), **{**OPTIONS, "epochs": 2}, workers=2, seed=seed)
        return model

    assert equal(trained(1), trained(1))
    assert not equal(trained(1), trained(2))


@pytest.mark.parametrize(
    ("scores", "best"), [([1.0, 3.0, 2.0], 1), ([2.0, 2.0, 1.0], 1), ([1.0, 1.0, 1.0], 2), ([3.0, 2.0, 1.0], 0)]
)
def test_the_best_epoch_is_what_remains(scores: list[float], best: int) -> None:
    """The later one of equals; its weights are those the validation saw."""
    model, seen = network(), list[Tensor]()

    def score(logits: Tensor, labels: Tensor) -> float:
        assert torch.equal(labels, LABELS)
        assert not model.training
        seen.append(logits)
        return scores[len(seen) - 1]

    run = train(model, DATA, sampler=range(ROWS), **OPTIONS, val=DATA, score=score)
    assert (run.best_epoch, run.best_score) == (best, scores[best])
    assert [row["score"] for row in run.history] == scores
    assert not model.training
    # Batches of 7 against all rows at once: rounding of float32.
    torch.testing.assert_close(model(DATA.tensors[0]), seen[best], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(seen[best], seen[best - 1], atol=1e-3)


def test_digits_are_learned_in_seconds() -> None:
    torch.manual_seed(0)
    plain = ImageTransform(8, channels=1, crop=1.0)
    data, val = (open_images(f"digits:{part}", transform=plain) for part in ("test", "val"))
    model = ConvNet(10, channels=1, width=16, image_size=8)
    options = {**OPTIONS, "epochs": 6, "batch_size": 32}
    run = train(model, data, sampler=RandomSampler(data), **options, val=val, score=accuracy)
    assert run.best_score is not None
    assert run.best_score > 0.9  # 0.97 measured; chance is 0.1


def test_progress_reaches_the_end() -> None:
    told: list[tuple[int, int, str]] = []
    train(network(), DATA, sampler=range(ROWS), **OPTIONS, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, 10))
    assert {total for _, total, _ in told} == {9}
    assert told[-1][2].startswith("epoch 3/3, loss ")


def test_a_loss_that_is_no_number_is_told_with_its_step(refused: Any) -> None:
    calls = iter(range(100))

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels) * (float("nan") if next(calls) >= 4 else 1)

    with refused("the loss is nan in epoch 2, step 2; lower --lr (now 0.1)"):
        train(network(), DATA, sampler=range(ROWS), **{**OPTIONS, "loss": loss})


def test_a_score_that_is_no_number_is_told(refused: Any) -> None:
    with refused("the score of epoch 1 is not a number"):
        train(network(), DATA, sampler=range(ROWS), **OPTIONS, val=DATA, score=lambda *_: float("nan"))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"epochs": 0}, "0 epochs"),
        ({"ranks": Ranks(0, 4)}, "batches of 7 rows for 4 processes; expected at least 8 rows"),
        ({"val": DATA}, "give both or neither"),
        ({"score": accuracy}, "give both or neither"),
        ({"sampler": range(1)}, "draws 1 rows an epoch"),
        ({"val": TensorDataset(torch.zeros(0, 4)), "score": accuracy}, "the validation data have no rows"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any], part: str, refused: Any) -> None:
    with refused(part):
        train(network(), DATA, **{"sampler": range(ROWS), **OPTIONS, **change})


def test_a_model_without_logits_is_refused(refused: Any) -> None:
    with refused("the model returned torch.float32 (7, 3, 1); expected floats (B, K)"):
        train(nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), DATA, sampler=range(ROWS), **OPTIONS)


def test_a_bad_image_is_one_line(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "cat" / name).write_bytes(b"<html>")
    data = open_images(str(tmp_path), transform=ImageTransform(8))
    with refused("cat/a.png", "HTML", error=BadImage):
        train(ConvNet(1), data, sampler=range(2), **OPTIONS)


@pytest.mark.cuda
def test_a_gpu_trains_the_same_way() -> None:
    run = train(network(), DATA, sampler=range(ROWS), **OPTIONS, val=DATA, score=accuracy, device="cuda")
    assert run.best_score is not None
    assert all(np.isfinite(row["loss"]) for row in run.history)


def test_only_the_named_parts_move(rows: Any, small: Any) -> None:
    """And the frozen batch normalisation keeps its statistics."""
    model, before = small(), small().state_dict()
    train(model, DATA, sampler=range(ROWS), **OPTIONS, parts=("4",))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"4.weight", "4.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_classifier_only_is_training_on_the_frozen_features(small: Any) -> None:
    model = small().eval()
    with torch.no_grad():
        features: Any = TensorDataset(model[:4](DATA.tensors[0]), LABELS)
    head = nn.Linear(8, 3)
    head.load_state_dict(model[4].state_dict())
    train(model, DATA, sampler=range(ROWS), **OPTIONS, parts=("4",))
    train(head, features, sampler=range(ROWS), **OPTIONS)
    torch.testing.assert_close(model[4].weight, head.weight)


def test_mixup_ema_and_adamw_learn_too(small: Any) -> None:
    model = small()
    options = {**OPTIONS, "epochs": 20, "lr": 0.02}
    run = train(
        model, DATA, sampler=range(ROWS), **options, optimiser="adamw", mixup=0.2, ema=0.9, val=DATA, score=accuracy
    )
    assert run.best_score is not None
    assert run.best_score > 0.9


def test_the_averaged_weights_are_judged_and_kept(small: Any) -> None:
    model, seen = small(), list[Tensor]()

    def score(logits: Tensor, labels: Tensor) -> float:
        seen.append(logits)
        return 0.0

    train(model, DATA, sampler=range(ROWS), **OPTIONS, ema=0.99, val=DATA, score=score)
    torch.testing.assert_close(model(DATA.tensors[0]), seen[-1], rtol=1e-5, atol=1e-5)
    raw = small()
    train(raw, DATA, sampler=range(ROWS), **OPTIONS)
    assert not torch.allclose(model[4].weight, raw[4].weight, atol=1e-3)


def test_a_loss_is_told_the_epoch() -> None:
    class Told:
        epochs: ClassVar[list[int]] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(logits, labels)

    train(network(), DATA, sampler=range(ROWS), **{**OPTIONS, "loss": Told()})
    assert Told.epochs == [0, 1, 2]


def test_the_speed_of_every_epoch_is_known() -> None:
    run = train(network(), DATA, sampler=range(ROWS), **OPTIONS)
    for line in run.history:
        assert line["seconds"] >= 0
        assert line["rows_per_second"] > 0
