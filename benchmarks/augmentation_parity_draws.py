"""The `nnunet` preset and nnU-Net's own pipeline on the same patch: statistics over many draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from augmentation_parity_rows import Row
from torch import Tensor


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


def rows(image: Tensor, labels: Tensor, count: int) -> Iterator[Row]:
    """A row for each statistic."""
    yield from ()
