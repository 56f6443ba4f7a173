"""The libraries that people use today, each called as its documentation shows, and what they read.

Each function imports its library itself: one that is not installed costs its own row and no other. Results come as the
library gives them, in its own memory; `array` views them as our (X, Y, Z), outside the clock.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray, IntArray


def array(result: Any) -> Any:
    """A peer's image or tensor as an array (X, Y, Z)."""
    if hasattr(result, "GetSpacing"):
        import SimpleITK as sitk

        return sitk.GetArrayFromImage(result).T
    return np.asarray(result)


def simpleitk_series(folder: Path) -> Any:
    """A float32 image. Sorting the files is part of the work, as ours finds and sorts them too."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return reader.Execute()


def monai_series(folder: Path) -> Any:
    """(X, Y, Z) float32 tensor by PydicomReader, through LoadImage as MONAI's pipelines do.

    Calling the reader alone gives float64 and takes longer still.
    """
    from monai.transforms.io.array import LoadImage

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LoadImage(reader="PydicomReader", image_only=True)(folder)


def dcm2niix_series(folder: Path) -> Path:
    """An uncompressed NIfTI file, int16. Not equal: a process starts and a file is written, as it has no other way."""
    program = Path(sys.executable).with_name("dcm2niix")
    out = Path(tempfile.mkdtemp(dir=folder.parent))
    command = [str(program) if program.exists() else "dcm2niix", "-z", "n", "-b", "n", "-f", "volume", "-o", str(out)]
    subprocess.run([*command, str(folder)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out / "volume.nii"


def dcm2niix_hu(path: Path) -> FloatArray:
    """The file's voxels with its rows turned back, because dcm2niix flips them; the file is removed."""
    import nibabel as nib

    image: Any = nib.load(path)
    hu = np.asarray(image.dataobj)[:, ::-1]
    shutil.rmtree(path.parent)
    return hu


def simpleitk_nifti(path: Path) -> Any:
    """A float32 image."""
    import SimpleITK as sitk

    return sitk.ReadImage(str(path), sitk.sitkFloat32)


def nibabel_nifti(path: Path) -> Any:
    """(X, Y, Z) int16, the type in the file. Not equal: ours is float32, for which nibabel would take longer."""
    import nibabel as nib

    image: Any = nib.load(path)
    return np.asarray(image.dataobj)


def monai_nifti(path: Path) -> Any:
    """(X, Y, Z) float32 tensor."""
    from monai.transforms.io.array import LoadImage

    return LoadImage(image_only=True)(path)


class SimpleitkResample:
    """A resampling of one image in ITK's memory onto one grid.

    Not equal, in the peer's favour: the copies from numpy into an ITK image and back are made outside the clock.
    """

    def __init__(self, voxels: FloatArray | IntArray, source: Geometry, target: Geometry, *, linear: bool) -> None:
        import SimpleITK as sitk

        self.image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
        place(self.image, source)
        self.resampler = sitk.ResampleImageFilter()
        self.resampler.SetSize(target.shape)
        place_output(self.resampler, target)
        self.resampler.SetInterpolator(sitk.sitkLinear if linear else sitk.sitkNearestNeighbor)
        self.resampler.SetDefaultPixelValue(-1024 if linear else 0)

    def __call__(self) -> Any:
        return self.resampler.Execute(self.image)


def place(image: Any, geometry: Geometry) -> None:
    """Our affine in ITK's fields; the frame is called LPS there, which changes nothing as long as both sides agree."""
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction.ravel().tolist())


def place_output(resampler: Any, geometry: Geometry) -> None:
    """As `place`, for the grid that a resampler makes."""
    resampler.SetOutputSpacing(geometry.spacing_mm)
    resampler.SetOutputOrigin(geometry.origin_mm)
    resampler.SetOutputDirection(geometry.direction.ravel().tolist())


def nnunet_cubic(hu: FloatArray, shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> Any:
    """(X, Y, Z) float32: order 3 in all three axes, as nnU-Net preprocesses images whose slices are not thick."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    return resample_data_or_seg_to_shape(
        hu.T[None], tuple(shape[::-1]), tuple(spacing[::-1]), tuple(target[::-1]), is_seg=False, order=3, order_z=0,
        force_separate_z=None,
    )[0].T  # fmt: skip
