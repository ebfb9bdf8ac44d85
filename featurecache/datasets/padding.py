"""The random crop of small images: padded a little, cut at another place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from featurecache.datasets.transforms import ImageTransform

SHARE = 8  # an eighth of the size: 4 pixels of 32


@dataclass(frozen=True)
class PadTransform:
    """Called with a PIL image: float32 (channels, size, size), moved by up to an eighth, mirrored half of the time.

    What the model reads outside training is padded with black and cut at random (He et al. 2016, section 4.2, where it
    is 4 pixels of 32). Randomness comes from torch's default generator, so seeds of DataLoader workers hold.

    evaluation: what the model reads outside training.
    flip: mirror left and right at random; wrong for digits, letters and anything with a handedness.
    """

    evaluation: ImageTransform
    flip: bool = True

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = self.evaluation(image)
        size, move = self.evaluation.size, self._move
        black = -torch.tensor(self.evaluation.mean) / torch.tensor(self.evaluation.std)
        padded = black[:, None, None].repeat(1, size + 2 * move, size + 2 * move)
        padded[:, move : move + size, move : move + size] = pixels
        top, left = torch.randint(0, 2 * move + 1, (2,)).tolist()
        cut = padded[:, top : top + size, left : left + size]
        return cut.flip(-1) if self.flip and torch.rand(()).item() < 0.5 else cut.contiguous()

    @property
    def _move(self) -> int:
        return max(1, self.evaluation.size // SHARE)

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal distribution."""
        mirrored = ", mirrored at random" if self.flip else ""
        return f"{self.evaluation.describe()}, then moved by up to {self._move} pixels on black{mirrored}"
