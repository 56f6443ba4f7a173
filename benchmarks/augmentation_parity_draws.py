"""The `nnunet` preset and nnU-Net's own pipeline on the same patch: statistics over many draws.

Both draw what acts and how from their own random numbers. Compared are the mean of each statistic over the draws and
its standard deviation over the draws, with bootstrap intervals that hold for all rows together (95 %, Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from augmentation_inputs import RAW_SHARE, Sample
from augmentation_parity_rows import Row
from augmentation_peers import nnunet_transforms
from torch import Tensor

from medseg.shapes import FloatArray
from medseg.transforms import TransformsConfig, WindowConfig, build_pipeline, window_image

EDGE, WINDOW_HU = 48, (-160.0, 240.0)
RESAMPLES, ALLOWED = 4000, 0.1  # of a standard deviation over the draws: a small effect
Statistics = dict[str, float]


@dataclass(frozen=True)
class Patch:
    """A raw sample in HU with its labels, and the window output that makes its mean 0 and its deviation 1."""

    hu: Tensor
    labels: Tensor
    output: tuple[float, float]

    @property
    def standardised(self) -> Tensor:
        """The image as nnU-Net's loader gives it."""
        return window_image(self.hu, WINDOW_HU, self.output)


def read_raw(folder: Path, spacing_mm: float) -> tuple[Tensor, Tensor]:
    """Image (1, X, Y, Z) float32 in HU and labels int16 of a case, on an upright grid of equal spacing."""
    from medseg.imaging.resample import resample_linear, resample_nearest
    from medseg.io.nifti import read_label_values, read_volume

    volume = read_volume(folder / "CT_image.nii.gz")
    values, grid = read_label_values(folder / "CT_mask.nii.gz")
    target = volume.geometry.canonical().with_spacing((spacing_mm,) * 3)
    hu = np.ascontiguousarray(resample_linear(volume.hu, volume.geometry, target))
    labels = np.ascontiguousarray(resample_nearest(values, grid, target)).astype(np.int16)
    return torch.from_numpy(hu)[None], torch.from_numpy(labels)[None]


def cut_patch(image: Tensor, labels: Tensor, edge: int = EDGE) -> Patch:
    """The raw sample for a patch of `edge` voxels around the middle of the image."""
    raw = int(edge * RAW_SHARE)
    box = [slice((n - raw) // 2, (n - raw) // 2 + raw) for n in image.shape[1:]]
    hu = image[:, *box].contiguous()
    clipped = hu.clamp(*WINDOW_HU)
    low, high = ((end - float(clipped.mean())) / float(clipped.std()) for end in WINDOW_HU)
    return Patch(hu, labels[:, *box].contiguous(), (low, high))


def rows(image: Tensor, labels: Tensor, count: int, edge: int = EDGE) -> Iterator[Row]:
    """Two rows for each statistic: its mean and its spread over the draws."""
    patch = cut_patch(image, labels, edge)
    ours, theirs = our_draws(patch, count, edge), peer_draws(patch, count, edge)
    tail = 0.025 / (2 * len(ours[0]))
    for name in ours[0]:
        a, b = (np.array([found[name] for found in side]) for side in (ours, theirs))
        for what, summary in (("mean", _mean), ("spread", _spread)):
            yield compared(f"nnunet preset, {name}: {what}", a, b, summary, tail)


def our_draws(patch: Patch, count: int, edge: int) -> list[Statistics]:
    """Statistics of the patch as our preset makes it."""
    window = WindowConfig(window_hu=WINDOW_HU, output=patch.output)
    config = TransformsConfig(preset="nnunet", steps=(window,))
    pipeline = build_pipeline(config, patch_shape=(edge,) * 3, spacing_mm=(1.0, 1.0, 1.0))
    found = (pipeline({"image": patch.hu, "labels": patch.labels}, seed=(1, draw)) for draw in range(count))
    return [statistics_of(sample["image"], sample["labels"]) for sample in found]


def peer_draws(patch: Patch, count: int, edge: int) -> list[Statistics]:
    """Statistics of the patch as nnU-Net's pipeline makes it."""
    compose = nnunet_transforms(Sample(edge))
    for step in compose.transforms:
        if hasattr(getattr(step, "transform", None), "benchmark"):
            step.transform.benchmark = False  # both of its methods blur alike
    np.random.seed(1)  # noqa: NPY002  # the state that batchgeneratorsv2 draws from
    torch.manual_seed(1)
    image = patch.standardised
    found = (compose(image=image.clone(), segmentation=patch.labels.clone()) for _ in range(count))
    return [statistics_of(sample["image"], sample["segmentation"]) for sample in found]


def statistics_of(image: Tensor, labels: Tensor) -> Statistics:
    """What is compared: moments, percentiles, gradient energy, and the share of the first class."""
    values = image.double().numpy()[0]
    low, middle, high = np.percentile(values, (1, 50, 99))
    energy = sum(float((np.diff(values, axis=axis) ** 2).mean()) for axis in range(3))
    return {
        "mean": float(values.mean()),
        "standard deviation": float(values.std()),
        "percentile 1": float(low),
        "median": float(middle),
        "percentile 99": float(high),
        "gradient energy": energy,
        "share of class 1": float((labels == 1).double().mean()),
    }


def compared(
    name: str, ours: FloatArray, theirs: FloatArray, summary: Callable[[FloatArray], FloatArray], tail: float
) -> Row:
    """The difference of a summary of two samples, its bootstrap interval, and the peer's deviation as the unit."""
    rng = np.random.default_rng(0)
    unit = float(theirs.std())
    drawn = [summary(side[rng.integers(len(side), size=(RESAMPLES, len(side)))]) for side in (ours, theirs)]
    low, high = np.quantile((drawn[0] - drawn[1]) / unit, (tail, 1 - tail))
    a, b = float(summary(ours[None])[0]), float(summary(theirs[None])[0])
    return Row(name, "batchgeneratorsv2", (a - b) / unit, ALLOWED, "sd of draws", a, b, (float(low), float(high)))


def _mean(samples: FloatArray) -> FloatArray:
    return samples.mean(axis=-1)


def _spread(samples: FloatArray) -> FloatArray:
    return samples.std(axis=-1) * math.sqrt(samples.shape[-1] / (samples.shape[-1] - 1))
