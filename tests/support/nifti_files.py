"""NIfTI files as other programs write them, by nibabel, with any header."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np


def save_nifti(path: Path, array: np.ndarray, sform=None, qform=None, kind: Any = nib.Nifti1Image, **fields) -> Path:
    """Writes `array` (stored as it is) with the forms that are given, coded 2 and 1, and header fields by name."""
    header = kind.header_class(endianness=">" if array.dtype.byteorder == ">" else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_sform(sform, code=2 if sform is not None else 0)
    header.set_qform(qform, code=1 if qform is not None else 0)
    header.set_data_offset(header.single_vox_offset)
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + b"\0\0\0\0" + array.tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def oblique(angle_deg: float = 20.0, spacing=(0.8, 0.8, 2.5)) -> np.ndarray:
    """An affine turned about an axis that is none of the world's."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(np.radians(angle_deg)) * cross + (1 - np.cos(np.radians(angle_deg))) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * spacing, (-120.5, 33.25, 870.0)
    return affine


def tilted(angle_deg: float, spacing=(0.5, 0.5, 5.0)) -> np.ndarray:
    """An affine whose slices are shifted against each other along Y, as those of a tilted gantry."""
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = spacing[2] * np.tan(np.radians(angle_deg))
    return affine
