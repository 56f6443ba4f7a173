from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import LabelError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.itk_images import label_names, read_label_values
from medseg.io.itk_nrrd_write import write_segmentation_nrrd
from medseg.io.made_by import MadeBy
from medseg.shapes import IntArray

SHEARED = np.array([[-0.7, 0, 0, 10], [0, -0.7, 0.4, 20], [0, 0.1, 2.5, -30], [0, 0, 0, 1]])
LABELS = LabelSet({"background": 0, "liver": 2, "lesion\nor cyst": 300})


def prediction(labels: IntArray | None = None) -> Prediction:
    if labels is None:
        labels = np.random.default_rng(1).choice([0, 2, 300], (5, 4, 3))
    return Prediction(labels, Geometry((5, 4, 3), SHEARED), LABELS)


def test_values_grid_and_names_come_back(tmp_path: Path) -> None:
    path = tmp_path / "c001.seg.nrrd"
    write_segmentation_nrrd(path, prediction())
    labels, geometry = read_label_values(path)
    np.testing.assert_array_equal(labels, prediction().labels)
    np.testing.assert_array_equal(geometry.affine, SHEARED)
    assert label_names(path) == {2: "liver", 300: "lesion\nor cyst"}


def test_itk_reads_the_same_voxels_at_the_same_place(tmp_path: Path) -> None:
    path = tmp_path / "c001.seg.nrrd"
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    affine[:3, 3] = 10, 20, -30
    labels = prediction().labels
    write_segmentation_nrrd(path, Prediction(labels, Geometry((5, 4, 3), affine), LABELS), facts=MadeBy("a", "1").facts)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, labels)
    assert image.GetOrigin() == (-10.0, -20.0, -30.0)
    assert image.GetSpacing() == pytest.approx((0.7, 0.8, 2.5))
    assert image.GetMetaData("algorithm") == "a"


def test_equal_labels_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_segmentation_nrrd(tmp_path / f"{name}.seg.nrrd", prediction())
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_another_name_and_fractions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.seg\.nrrd"):
        write_segmentation_nrrd(tmp_path / "c001.nii.gz", prediction())
    halves: IntArray = np.full((5, 4, 3), 0.5)  # type: ignore[assignment]
    with pytest.raises(LabelError, match="integers"):
        write_segmentation_nrrd(tmp_path / "a.seg.nrrd", prediction(halves))
