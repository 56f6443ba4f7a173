"""`standardise` brings a study to the plan's grid; `restore`, in the file beside it, brings class scores back."""

from __future__ import annotations

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.regions import Reading
from medseg.imaging.resample import resample_linear, resample_nearest
from medseg.imaging.volume import Volume
from medseg.preprocessing.body import body_box
from medseg.preprocessing.looked_for import read_indices
from medseg.preprocessing.plan import Plan
from medseg.shapes import FloatArray, IntArray


def standard_geometry(volume: Volume, plan: Plan) -> Geometry:
    """The plan's grid over this study: axes near R, A, S, the plan's spacing, the body's box."""
    geometry = volume.geometry
    if plan.preprocessing.crop_to_body:
        geometry = geometry.cropped(*body_box(volume, plan.preprocessing.margin_mm))
    return geometry.canonical().with_spacing(plan.spacing_mm)


def standardise(volume: Volume, plan: Plan) -> Volume:
    """The study on the plan's grid, still in HU; air where the grid reaches beyond the image."""
    target = standard_geometry(volume, plan)
    return Volume(resample_linear(volume.hu, volume.geometry, target), target)


def standardise_labels(labels: Reading, target: Geometry) -> IntArray:
    """Class indices (int16) of a reading on the standardised grid, nearest neighbour; regions must not overlap."""
    return resample_nearest(read_indices(labels), labels.geometry, target).astype(np.int16)


def whole_hu(hu: FloatArray) -> IntArray:
    """HU as training stores them and prediction shows them: rounded to int16, beyond its range its ends.

    >>> whole_hu(np.array([-1024.4, 40.6, 50_000.0])).tolist()
    [-1024, 41, 32767]
    """
    ends = np.iinfo(np.int16)
    values = np.rint(hu)
    return np.clip(values, ends.min, ends.max, out=values).astype(np.int16)


def normalise(hu: FloatArray, plan: Plan) -> FloatArray:
    """Clips to the plan's window and scales to zero mean and unit deviation; works on arrays and tensors."""
    return (hu.clip(*plan.window_hu) - plan.mean_hu) / plan.std_hu
