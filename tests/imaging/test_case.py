import numpy as np
import pytest

from medseg.errors import GeometryError, VoxelError
from medseg.imaging.case import Case
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume

GRID = Geometry((4, 4, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
LABELS = LabelSet({"background": 0, "liver": 1})


def volume(geometry: Geometry = GRID) -> Volume:
    return Volume(np.zeros(geometry.shape, dtype=np.float32), geometry)


def reading(geometry: Geometry = GRID) -> LabelMap:
    return LabelMap(np.zeros(geometry.shape, dtype=np.uint8), geometry, LABELS)


def shifted(mm: float) -> Geometry:
    affine = GRID.affine.copy()
    affine[2, 3] += mm
    return Geometry(GRID.shape, affine)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_is_refused_and_counted(bad):
    hu = np.zeros(GRID.shape, dtype=np.float32)
    hu[1, 2, 3] = hu[0, 0, 0] = bad
    with pytest.raises(VoxelError, match="2 of 64 voxels are NaN or infinite"):
        Volume(hu, GRID)


def test_an_image_on_another_shape_than_its_grid_is_refused():
    with pytest.raises(GeometryError, match=r"expected \(4, 4, 4\), got \(4, 4, 3\)"):
        Volume(np.zeros((4, 4, 3), dtype=np.float32), GRID)


def test_a_case_without_a_patient_is_its_own_patient():
    assert Case("c001", volume(), {"A": reading()}).patient == "c001"
    assert Case("c001", volume(), {"A": reading()}, patient="p7").patient == "p7"


OTHER_GRIDS = {
    "shape": Geometry((4, 4, 5), GRID.affine),
    "spacing": Geometry(GRID.shape, np.diag([1.0, 1.0, 2.5, 1.0])),
    "origin": shifted(1.0),
    "orientation": Geometry(GRID.shape, np.diag([-1.0, 1.0, 3.0, 1.0])),
}


@pytest.mark.parametrize(("word", "geometry"), OTHER_GRIDS.items(), ids=OTHER_GRIDS)
def test_labels_on_another_grid_are_refused_naming_case_rater_and_difference(word, geometry):
    with pytest.raises(GeometryError, match=f"^case c001, rater B: .*got {word} .* against "):
        Case("c001", volume(), {"A": reading(), "B": reading(geometry)})


def test_a_truth_on_another_grid_is_refused_too():
    with pytest.raises(GeometryError, match=r"^case c001, truth: "):
        Case("c001", volume(), {}, truth=reading(shifted(-2.0)))


def test_labels_that_differ_by_rounding_only_are_accepted():
    assert Case("c001", volume(), {"A": reading(shifted(1e-4))}).raters["A"].geometry.shape == (4, 4, 4)
