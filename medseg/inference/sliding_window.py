"""Class probabilities of a whole image from overlapping patches (MONAI's sliding window, Gaussian-weighted)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from monai.inferers.utils import sliding_window_inference
from pydantic import Field, field_validator
from torch import Tensor, nn

from medseg.config import Config
from medseg.shapes import IntTriple

LEFT_RIGHT_AXIS = 0  # the standardised grid runs towards R, A, S


class InferenceConfig(Config):
    """`overlap` of neighbouring patches; `mirror_axes` (0, 1, 2) are averaged over; `batch` patches at a time."""

    overlap: float = Field(default=0.5, ge=0, lt=1)
    mirror_axes: tuple[int, ...] = ()
    batch: int = Field(default=1, gt=0)

    @field_validator("mirror_axes")
    @classmethod
    def _axes_exist(cls, axes: tuple[int, ...]) -> tuple[int, ...]:
        if not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
            raise ValueError("different axes out of 0, 1 and 2")
        return axes


def predict_probabilities(
    model: nn.Module,
    image: Tensor,
    patch: IntTriple,
    config: InferenceConfig,
    mirror_pairs: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """Probabilities (C, X, Y, Z) on the CPU of an image (1, X, Y, Z), averaged over the mirrorings asked for.

    A mirrored patient has left and right exchanged, so the classes of `mirror_pairs` are exchanged back.
    """
    device = next(model.parameters()).device
    total: Tensor | None = None
    flips = [axes for count in range(len(config.mirror_axes) + 1) for axes in combinations(config.mirror_axes, count)]
    model.eval()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
        for axes in flips:
            dims = [2 + axis for axis in axes]
            logits = sliding_window_inference(
                image[None].flip(dims), patch, config.batch, model, config.overlap, mode="gaussian",
                padding_mode="constant", cval=float(image.min()), sw_device=device, device=torch.device("cpu"),
            )  # fmt: skip
            probabilities = torch.softmax(logits.float(), dim=1).flip(dims)[0]  # type: ignore[union-attr]
            if LEFT_RIGHT_AXIS in axes:
                probabilities = _exchange(probabilities, mirror_pairs)
            total = probabilities if total is None else total + probabilities
    assert total is not None
    return total / len(flips)


def _exchange(probabilities: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    order = list(range(len(probabilities)))
    for first, second in pairs:
        order[first], order[second] = order[second], order[first]
    return probabilities[order]
