"""What a recipe says about prediction, and class probabilities of an image that is already standardised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from medseg.config import Config
from medseg.inference.network import Networks, device_of
from medseg.inference.on_cpu import on_cpu
from medseg.inference.slabs import Layout, Window, score_planes
from medseg.inference.tiles import lay_tiles
from medseg.shapes import IntTriple


class InferenceConfig(Config):
    """How a study is predicted from overlapping tiles of the patch's size.

    Args:
        overlap: of neighbouring tiles, at least; they are spread evenly, as in nnU-Net.
        mirror_axes: 0, 1, 2 for X (left/right), Y, Z: views mirrored along all combinations are averaged. Only axes
            that were flipped in training.
        batch: tiles at a time on a CPU; on a GPU as many as are useful and fit.
        skip_air: leave out tiles that hold neither tissue nor anything that tissue encloses.
        order: 1 for linear, 3 for cubic interpolation of the scores to the study's own grid.
        precision: `auto` is fp32 on a CPU and on CUDA bf16, or fp16 where the GPU has no bf16.
    """

    overlap: float = Field(default=0.5, ge=0, lt=1)
    mirror_axes: tuple[int, ...] = ()
    batch: int = Field(default=1, gt=0)
    skip_air: bool = True
    order: Literal[1, 3] = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    @field_validator("mirror_axes")
    @classmethod
    def _axes_exist(cls, axes: tuple[int, ...]) -> tuple[int, ...]:
        if not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
            raise ValueError("different axes out of 0, 1 and 2")
        return axes

    def precision_on(self, device: torch.device) -> str:
        """fp32, bf16 or fp16."""
        if device.type != "cuda":
            return "fp32"
        if self.precision != "auto":
            return self.precision
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def predict_probabilities(
    model: nn.Module,
    image: Tensor,
    patch: IntTriple,
    config: InferenceConfig,
    mirror_pairs: Sequence[tuple[int, int]] = (),
    *,
    swap: Literal["side", "chirality"] = "side",
    pad: float | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Probabilities (C, X, Y, Z) on the CPU of a standardised image (1, X, Y, Z), all tiles computed.

    In a cascade the image is (2, X, Y, Z), with the classes that the coarser network gave.

    Args:
        model: gives logits (B, C, X, Y, Z); set to evaluation here.
        mirror_pairs: classes that exchange their names when left and right do.
        swap: when they do, see `Networks`.
        pad: stands beyond an image that is smaller than the patch; its lowest value where None.
    """
    model.eval()
    device = device_of(model)
    networks = Networks([on_cpu(model)], [lambda tiles: tiles], config.mirror_axes, mirror_pairs, swap,
                        precision=config.precision_on(device), batch=config.batch)  # fmt: skip
    window = Window(image[0], float(image[0].min()) if pad is None else pad, image[1] if len(image) > 1 else None)
    tiling = lay_tiles(window.shape, patch, config.overlap)
    found: Tensor | None = None
    first = 0
    for planes in score_planes(networks, window, tiling, Layout(), on_progress=on_progress):
        part = torch.softmax(torch.from_numpy(planes), dim=1).transpose(0, 1)
        if found is None:
            found = torch.empty((len(part), *window.shape))
        found[:, first : first + part.shape[1]] = part
        first += part.shape[1]
    assert found is not None
    return found
