"""What one or several trained networks say about tiles: mirrored views and models averaged on the fly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import log
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.errors import MedsegError

LEFT_RIGHT_AXIS = 0  # the standardised grid runs towards R, A, S
Say = Callable[[str], None]


class DeviceMemoryError(MedsegError):
    """The device's memory does not hold a single tile."""

    exit_code = 1


@dataclass(eq=False)
class Networks:
    """Scores of tiles; one network's logits, or the logarithm of the mean of several networks' probabilities.

    Both are logits: their softmax is the probability, and the class of the highest score is the label. Logits of
    mirrored views of one network are averaged, as nnU-Net does.

    Args:
        models: networks on one device.
        normalise: for each network what brings a tile of the image to what it was trained on.
        mirror_axes: all combinations of these are averaged over.
        mirror_pairs: classes that mirroring exchanges.
        swap: when it does: where the left/right axis is mirrored (`side`) or where an odd number of axes is
            (`chirality`), as in training.
        precision: `fp32`, or on CUDA `bf16` or `fp16`.
        batch: tiles at a time; becomes smaller when the device's memory does not suffice.
        may_use_cpu: whether networks move to the CPU where not even one tile fits on the device.
        say: is told of both.
    """

    models: Sequence[nn.Module]
    normalise: Sequence[Callable[[Tensor], Tensor]]
    mirror_axes: tuple[int, ...] = ()
    mirror_pairs: Sequence[tuple[int, int]] = ()
    swap: Literal["side", "chirality"] = "side"
    precision: str = "fp32"
    batch: int = 1
    may_use_cpu: bool = True
    say: Say = lambda text: None
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = device_of(self.models[0])

    @property
    def flips(self) -> list[tuple[int, ...]]:
        """The axes of each view."""
        axes = self.mirror_axes
        return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]

    def __call__(self, tiles: Tensor) -> Tensor:
        """Scores (B, C, X, Y, Z) float32 on the device of tiles (B, 1, X, Y, Z), smaller batches after one that failed.

        Raises:
            DeviceMemoryError: not even one tile fits.
        """
        done: list[Tensor] = []
        place = 0
        while place < len(tiles):
            part = tiles[place : place + self.batch]
            try:
                done.append(self._scores(part.to(self.device)))
                place += len(part)
            except torch.OutOfMemoryError as error:
                self._retreat(len(part), error)
        return done[0] if len(done) == 1 else torch.cat([scores.to(self.device) for scores in done])

    def _retreat(self, tried: int, error: BaseException) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tried > 1:
            self.batch = max(1, tried // 2)
            self.say(
                f"The {self.device.type} memory does not hold {tried} tiles; going on with {self.batch} at a time."
            )
        elif self.device.type != "cpu" and self.may_use_cpu:
            self.models = [copy.deepcopy(model).to("cpu") for model in self.models]
            self.device, self.precision = torch.device("cpu"), "fp32"
            self.say("The device's memory does not hold a single tile; going on with the CPU, which is slower.")
        else:
            raise DeviceMemoryError("the device's memory does not hold a single tile", got=self.device.type,
                                    do="Use --device cpu, or train with a smaller patch.") from error  # fmt: skip

    def _scores(self, tiles: Tensor) -> Tensor:
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None),
        ):
            if len(self.models) == 1:
                return self._logits(self.models[0], self.normalise[0](tiles))
            total: Tensor | None = None
            for model, normalise in zip(self.models, self.normalise, strict=True):
                own = torch.log_softmax(self._logits(model, normalise(tiles)), dim=1)
                total = own if total is None else torch.logaddexp(total, own)
            assert total is not None
            return total - log(len(self.models))

    def _logits(self, model: nn.Module, tiles: Tensor) -> Tensor:
        total: Tensor | None = None
        flips = self.flips
        for axes in flips:
            dims = [2 + axis for axis in axes]
            exchanged = LEFT_RIGHT_AXIS in axes if self.swap == "side" else len(axes) % 2 == 1
            view = tiles.flip(dims) if dims else tiles
            if exchanged and view.shape[1] > 1:
                view = exchange_classes(view, self.mirror_pairs)
            logits = model(view).float()
            if dims:
                logits = logits.flip(dims)
            if exchanged:
                logits = _exchange(logits, self.mirror_pairs)
            total = logits if total is None else total + logits
        assert total is not None
        return total / len(flips) if len(flips) > 1 else total


def device_of(model: nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for one without any."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def exchange_classes(tiles: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Tiles (B, 2, X, Y, Z) of a cascade with left and right exchanged among the classes of the second channel."""
    image, given = tiles[:, :1], tiles[:, 1:]
    coarse = given.clone()
    for first, second in pairs:
        coarse[given == first] = second
        coarse[given == second] = first
    return torch.cat([image, coarse], dim=1)


def _exchange(logits: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """A mirrored patient has left and right exchanged, so the classes of the pairs are exchanged back."""
    order = list(range(logits.shape[1]))
    for first, second in pairs:
        order[first], order[second] = order[second], order[first]
    return logits[:, order]
