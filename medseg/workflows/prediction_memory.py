"""What `medseg predict` holds around a predictor, so that a promise of memory counts reading and writing too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from medseg.imaging.geometry import Geometry
from medseg.inference.around import Around
from medseg.io.dicom import is_series
from medseg.io.itk_images import is_itk
from medseg.io.nifti import is_nifti
from medseg.io.readers import find_reader
from medseg.workflows.prediction_files import Outputs
from medseg.workflows.prediction_studies import Study

MB = 2**20
READING_BYTES = 64 * MB  # of slices and pieces on their way into the volume
NAN_BYTES = 1  # of a voxel, while NaN are replaced
ITK_BYTES = 4  # of a voxel as it is stored; NRRD and MetaImage are read whole before they become float32
SHOWS_IMAGE = {"png", "viewer"}


@dataclass(frozen=True)
class Need:
    """Bytes that the writer of a format takes beyond the labels: at all, of a voxel, and of a label on a slice.

    Measured with labels of 512 x 512 x 200 and 512 x 512 x 400 voxels whose 24 structures all lie on every slice.
    """

    always: int = 8 * MB
    voxel: float = 0
    frame: int = 0

    def of(self, grid: Geometry, labels: int) -> int:
        """For labels on a grid."""
        return int(self.always + self.voxel * prod(grid.shape) + self.frame * labels * grid.shape[2])


NEEDS = {
    "png": Need(48 * MB, 4.5),
    "viewer": Need(48 * MB, 4.5),
    "dicom-seg": Need(110 * MB, 2.2, 8 * 2**10),
    "rtstruct": Need(240 * MB, 2.2, 32 * 2**10),
}
PLAIN = Need()  # files that are written slice by slice


def around(study: Study, grid: Geometry, outputs: Outputs, labels: int) -> Around:
    """What is held around the prediction of a study.

    Args:
        labels: how many structures there are.
    """
    shown = bool(SHOWS_IMAGE.intersection(outputs.formats)) and outputs.images
    return Around(_reading(study, grid), _writing(outputs.all, grid, labels), keeps_volume=shown)


def grid_of(study: Study) -> Geometry:
    """The grid of a study by its headers.

    Raises:
        FileReadError, DicomError, GeometryError: as reading it would raise.
    """
    options = {name: value for name, value in study.options.items() if value is not None}
    return find_reader(study.path, where=study.where).grid(study.path, where=study.where, **options)


def _reading(study: Study, grid: Geometry) -> int:
    voxels, path = prod(grid.shape), Path(study.path)
    found = READING_BYTES + (NAN_BYTES * voxels if study.options.get("nan_hu") is not None else 0)
    if is_itk(path):
        found += ITK_BYTES * voxels
    if not is_nifti(path) and path.is_file() and (is_itk(path) or is_series(path)):
        found += path.stat().st_size  # packed, it is read whole
    return found


def _writing(formats: Iterable[str], grid: Geometry, labels: int) -> int:
    return max(NEEDS.get(each, PLAIN).of(grid, labels) for each in formats)
