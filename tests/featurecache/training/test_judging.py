"""The score of the validation rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from featurecache.training.judging import Judging
from featurecache.training.loading import Loading
from featurecache.training.mixing import Mixup
from featurecache.training.precision import Precision
from featurecache.training.schedule import Batches
from featurecache.training.sharing import ALONE
from featurecache.training.stepping import Stepping

CPU = torch.device("cpu")


def judged(model: nn.Module, rows: TensorDataset, score: Any, amp: str = "off") -> float:
    stepping = Stepping(
        model, model.train, torch.optim.SGD(model.parameters()), cross_entropy, Mixup(0.5), Precision(amp, CPU), None,
        CPU, ALONE,
    )  # fmt: skip
    loading = Loading(rows, Batches(range(len(rows)), 7, 1), CPU, 0, 0)  # type: ignore[arg-type]
    return Judging(loading, score).score_of(model, 0, stepping)


def test_it_sees_every_row_in_eval_mode_and_in_order(rows: TensorDataset, small: Callable[[], nn.Module]) -> None:
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def score(logits: Tensor, labels: Tensor) -> float:
        assert torch.equal(labels, rows.tensors[1])
        torch.testing.assert_close(logits, model(rows.tensors[0]))
        assert not logits.requires_grad
        return 0.25

    assert judged(model, rows, score) == 0.25
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_logits_are_float32_whatever_the_model_computes_with(
    rows: TensorDataset, small: Callable[[], nn.Module]
) -> None:
    seen = []
    judged(small(), rows, lambda logits, _labels: seen.append(logits.dtype) or 0.0, amp="bf16")
    assert seen == [torch.float32]


def test_a_score_that_is_no_number_is_told(rows: TensorDataset, small: Callable[[], nn.Module], refused: Any) -> None:
    with refused("the score of epoch 1 is not a number"):
        judged(small(), rows, lambda *_: float("nan"))
