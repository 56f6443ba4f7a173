"""Data sets of two blocks of 150 HU in water, one on each side, and a threshold model that names them by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, write_dataset
from medseg.io.nifti import write_labels, write_volume

NAMES = LabelSet({"background": 0, "left": 1, "right": 2}, (("left", "right"),))
GRID = Geometry((20, 14, 10), np.diag([-3.0, -3.0, 4.0, 1.0]))
ORGAN_HU = 150.0


def body(shift: int) -> np.ndarray:
    """Two blocks; on this LPS grid the patient's right has the small indices."""
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[2 : 7 + shift, 4:10, 3:8], labels[13 - shift : 18, 4:10, 3:8] = 2, 1
    return labels


def make_dataset(root: Path, cases: int = 3, *, references: bool = True, names: LabelSet = NAMES) -> Path:
    entries = []
    for number in range(cases):
        labels = body(number % 3)
        case = f"c{number}"
        image, truth = root / f"images/{case}.nii.gz", root / f"truth/{case}.nii.gz"
        write_volume(image, Volume(np.where(labels > 0, ORGAN_HU, 0).astype(np.float32), GRID))
        readers = {}
        if references:
            write_labels(truth, labels, GRID)
            for rater in "AB":
                readers[rater] = LabelFile(root / f"labels/{rater}/{case}.nii.gz")
                write_labels(readers[rater].path, np.where(np.arange(10) < 7 + (rater == "B"), labels, 0), GRID)
        entries.append(CaseEntry(case, image, readers, truth if references else None, split="test"))
    return write_dataset(Dataset(root, names, ("A", "B") if references else (), tuple(entries)))


def by_side(volume: Volume) -> np.ndarray:
    """Everything denser than 100 HU: `left` left of the middle of the image, else `right`."""
    places = np.stack(np.meshgrid(*map(np.arange, volume.hu.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    right = volume.geometry.world(places)[:, 0].reshape(volume.hu.shape)
    middle = (volume.hu.shape[0] - 1) / 2
    centre = volume.geometry.world(np.array([[middle, 0, 0]]))[0, 0]
    return np.where(volume.hu > 100, np.where(right < centre, 1, 2), 0).astype(np.uint8)
