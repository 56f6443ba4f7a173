"""Which channels of an image a transform changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.transforms.ranges import Rng, new_seed


@dataclass(frozen=True)
class Channels:
    """Every channel is changed with this probability; the seed stands for the draws, as their number is not known yet.

    Example:
        >>> Channels(0.5, seed=1).acting(4)
        [False, False, True, False]
    """

    probability: float
    seed: int

    def acting(self, count: int) -> list[bool]:
        """For each of `count` channels whether it is changed."""
        drawn = np.random.default_rng(self.seed).uniform(size=count)
        return [bool(value < self.probability) for value in drawn]


def some_channels(rng: Rng, probability: float) -> Channels | None:
    """None, which is every channel, at probability 1; one number is drawn in any case."""
    seed = new_seed(rng)
    return None if probability == 1 else Channels(probability, seed)


def on_channels(image: Tensor, channels: Channels | None, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The image (C, X, Y, Z) with `change` done to the acting channels, all of them together."""
    acting = [True] * len(image) if channels is None else channels.acting(len(image))
    if all(acting):
        return change(image)
    if not any(acting):
        return image
    parts = [change(image[i : i + 1]) if acts else image[i : i + 1] for i, acts in enumerate(acting)]
    return torch.cat(parts)


def each_channel(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`change` done to one channel after the other, as when each goes by its own mean."""

    def changed(image: Tensor) -> Tensor:
        return change(image) if len(image) == 1 else torch.cat([change(part) for part in image.split(1)])

    return changed
