"""The sample that all sides augment, and our own side of every row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from augmentation_rows import Side
from scipy.ndimage import zoom
from torch import Tensor

from medseg.shapes import IntTriple
from medseg.transforms import AffineConfig, ElasticConfig, TransformsConfig, build_pipeline
from medseg.transforms.deformation import AffineParams, Warp
from medseg.transforms.pipeline import Pipeline

ROTATION_DEG, SCALE = 30.0, (0.7, 1.4)  # nnU-Net's default ranges
# What nnU-Net reads for a patch, so that a turned patch meets no border: 205 voxels for 128 (`get_patch_size`).
RAW_SHARE = 205 / 128
Labels = Literal["nearest", "linear_argmax"]


@dataclass(frozen=True)
class Sample:
    """A seeded image with one integer label map, larger than the patch of `edge` voxels that comes out.

    Four labels, because a peer's time grows with their number; an image without patterns, because nobody's depends on
    the content.
    """

    edge: int

    @property
    def patch(self) -> IntTriple:
        """Shape of the result."""
        return (self.edge,) * 3

    @cached_property
    def hu(self) -> Tensor:
        """(1, X, Y, Z) float32 in HU."""
        raw = int(self.edge * RAW_SHARE)
        rng = np.random.default_rng(0)
        coarse = zoom(rng.normal(0, 150, (raw // 8 + 2,) * 3), 8, order=1)[:raw, :raw, :raw]
        return torch.from_numpy((coarse + rng.normal(0, 20, (raw,) * 3)).astype(np.float32))[None]

    @cached_property
    def labels(self) -> Tensor:
        """(1, X, Y, Z) int16: background and three nested bodies."""
        raw = self.hu.shape[1]
        x, y, z = np.ogrid[-1 : 1 : raw * 1j, -1 : 1 : raw * 1j, -1 : 1 : raw * 1j]
        distance = np.sqrt(x**2 + (1.2 * y) ** 2 + (1.4 * z) ** 2)
        return torch.from_numpy(np.digitize(-distance, (-0.9, -0.6, -0.3)).astype(np.int16))[None]

    @cached_property
    def standardised(self) -> Tensor:
        """The image with mean 0 and standard deviation 1, as the peers expect it."""
        return (self.hu - self.hu.mean()) / self.hu.std()

    def middle(self, tensor: Tensor) -> Tensor:
        """The patch in the middle, for a peer whose result has the size of its input."""
        start = (tensor.shape[1] - self.edge) // 2
        box = slice(start, start + self.edge)
        return tensor[:, box, box, box].contiguous()


def pipeline_side(sample: Sample, config: TransformsConfig) -> Side:
    """Our pipeline; the draw is its seed."""
    pipeline = build_pipeline(config, patch_shape=sample.patch)

    def run(given: tuple[dict[str, Tensor], int]) -> tuple[Tensor, Tensor]:
        entries, draw = given
        result = pipeline(entries, seed=(0, draw))
        return result["image"], result["labels"]

    return Side(lambda draw: ({"image": sample.hu.clone(), "labels": sample.labels.clone()}, draw), run)


def affine(interpolation: Labels) -> TransformsConfig:
    """Rotation and scaling, always."""
    step = AffineConfig(probability=1, rotation_deg=ROTATION_DEG, scale=(1 / SCALE[1], 1 / SCALE[0]), axis_scale=(1, 1),
                        interpolation=interpolation)  # fmt: skip
    return TransformsConfig(preset="none", steps=(step,))


def elastic(interpolation: Labels) -> TransformsConfig:
    """Bending, always."""
    return TransformsConfig(preset="none", steps=(ElasticConfig(probability=1, interpolation=interpolation),))


def nnunet() -> TransformsConfig:
    """nnU-Net's default set at its own probabilities."""
    return TransformsConfig(preset="nnunet")


def nnunet_forced() -> TransformsConfig:
    """The same, everything acting that can; flips toss their coins, as those of the peers do."""
    steps = tuple(step if step.name == "flip" else _certain(step) for step in nnunet().complete())
    return TransformsConfig(preset="none", steps=steps)


def _certain(step: Any) -> Any:
    """The step with every probability above 0, its own and those of its parts, made 1."""
    chances = {key: value for key, value in step.model_dump().items() if key.endswith("probability") and value > 0}
    return step.model_copy(update=dict.fromkeys(chances, 1.0))


PARTS = {  # our steps and nnU-Net's names for the same
    "gaussian_noise": "noise", "blur": "blur", "multiply": "brightness", "contrast_mean": "contrast",
    "low_resolution": "low_resolution", "gamma_range": "gamma_inverted", "gamma_range_2": "gamma",
}  # fmt: skip


def acting(pipeline: Pipeline, shape: IntTriple, draw: int) -> set[str]:
    """What the `nnunet` preset does to the one channel of a sample in a draw, in nnU-Net's names; flips left out."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    drawn = pipeline.sample(shape, (1.0, 1.0, 1.0), (0, draw))
    for (name, _), params in zip(pipeline.transforms, drawn, strict=True):
        seen[name] += 1
        known = PARTS.get(name if seen[name] == 1 else f"{name}_{seen[name]}")
        if isinstance(params, Warp) and params.affine is not None:
            still = AffineParams()
            found |= {"rotation"} if params.affine.rotation_deg != still.rotation_deg else set()
            found |= {"scaling"} if params.affine.scale != still.scale else set()
        elif params is not None and known and _changes(params):
            found.add(known)
    return found


def _changes(params: Any) -> bool:
    """Whether the one channel is among those that a step changes."""
    channels = getattr(params, "channels", None)
    return channels is None or channels.acting(1)[0]
