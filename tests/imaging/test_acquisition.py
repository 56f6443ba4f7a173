import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.errors import GeometryError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.slice_shift import AIR_HU
from medseg.imaging.volume import Volume

FRAME = np.array([[-0.5, 0, 0, 100], [0, -0.5, 0, 80], [0, 0, 2.0, -30], [0, 0, 0, 1]])


def acquired(heights, shifts, *, shape=(8, 9), grid_shape=(8, 9, 5), frame=FRAME) -> Acquisition:
    """Slices at heights in mm above the first plane of a grid, their first pixel at (0, shift) pixels of it."""
    affines = np.repeat(frame[None], len(heights), axis=0)
    affines[:, :3, 2] /= np.linalg.norm(frame[:3, 2])
    affines[:, :3, 3] += np.outer(heights, affines[0, :3, 2]) + np.outer(shifts, frame[:3, 1])
    return Acquisition(shape, affines, Geometry(grid_shape, frame))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


turned = st.tuples(*[st.floats(-180, 180)] * 3)
signs = st.tuples(*[st.sampled_from((-1, 1))] * 3)


@st.composite
def frames(draw) -> np.ndarray:
    """Oblique, flipped and permuted axes of any spacing."""
    affine = np.eye(4)
    axes = np.eye(3)[list(draw(st.permutations(range(3))))] * draw(signs)
    spacing = np.diag(draw(st.tuples(*[st.floats(0.3, 5.0)] * 3)))
    affine[:3, :3] = Rotation.from_euler("xyz", draw(turned), degrees=True).as_matrix() @ axes @ spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine


# ---- plain


@settings(deadline=None, max_examples=30)
@given(frames(), st.tuples(*[st.integers(1, 5)] * 3))
def test_the_planes_of_a_grid_are_a_plain_acquisition_in_any_orientation(affine, shape):
    acquisition = Acquisition.of_planes(Geometry(shape, affine))
    labels = np.random.default_rng(0).integers(0, 9, shape)
    last = acquisition.affines[-1] @ (shape[0] - 1, shape[1] - 1, 0, 1)
    assert acquisition.plain
    assert np.allclose(last[:3], acquisition.geometry.world(np.array(shape) - 1))
    assert np.array_equal(acquisition.to_grid(labels), labels)
    assert np.array_equal(acquisition.to_slices(labels), labels)


def test_plain_labels_are_copies():
    acquisition = Acquisition.of_planes(Geometry((2, 2, 2), np.eye(4)))
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    acquisition.to_grid(labels)[0, 0, 0] = 1
    acquisition.to_slices(labels)[0, 0, 0] = 1
    assert not labels.any()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_labels_keep_their_type(kind, order):
    acquisition = acquired([0, 2, 6, 8], [0, 0, 0, 0])
    labels = np.ones((8, 9, 4), dtype=kind, order=order)
    assert acquisition.to_grid(labels).dtype == kind
    assert acquisition.to_slices(acquisition.to_grid(labels)).dtype == kind


# ---- shifted, missing and uneven slices


@settings(deadline=None, max_examples=40)
@given(frames(), st.floats(-3, 3), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 99))
def test_labels_of_shifted_slices_come_back_exactly_from_an_upright_grid(frame, shift, there, seed):
    heights = np.flatnonzero([True, *there, True]) * np.linalg.norm(frame[:3, 2])
    shifts = shift * np.arange(len(heights))
    start = int(np.floor(min(0, shifts[-1])))
    grid = Geometry((8, 9 + int(np.ceil(abs(shifts[-1]))) + 1, 5), frame).cropped((0, start, 0), (8, 25, 5))
    affines = acquired(heights, shifts, frame=frame).affines
    acquisition = Acquisition((8, 9), affines, grid)
    labels = np.random.default_rng(seed).integers(0, 9, (8, 9, len(heights)))
    assert np.array_equal(acquisition.to_slices(acquisition.to_grid(labels)), labels)


def test_a_label_lands_on_the_voxel_nearest_to_where_it_was_drawn():
    acquisition = acquired([0, 2, 6, 8], [0, 1.4, 3.8, 5.2], grid_shape=(8, 15, 5))
    labels = np.zeros((8, 9, 4), dtype=bool)
    labels[3, 4, 2] = True
    drawn = acquisition.affines[2] @ (3, 4, 0, 1)
    placed = np.argwhere(acquisition.to_grid(labels))
    assert (3, 8, 3) in map(tuple, placed.tolist())
    assert np.abs(acquisition.geometry.world(np.array([3, 8, 3])) - drawn[:3]).max() <= 0.25


def test_an_invented_plane_takes_the_labels_of_the_nearer_slice():
    acquisition = acquired([0, 2, 8], [0, 0, 0], shape=(1, 1), grid_shape=(1, 1, 5))
    assert acquisition.to_grid(np.array([[[1, 2, 3]]])).ravel().tolist() == [1, 2, 2, 3, 3]
    assert acquisition.to_slices(np.array([[[1, 2, 7, 8, 3]]])).ravel().tolist() == [1, 2, 3]


def test_a_ball_drawn_on_uneven_tilted_slices_comes_back_with_dice_near_1():
    heights = np.cumsum([0, 2.0, 2.0, 1.1, 3.7, 3.7, 2.0, 2.0])
    acquisition = acquired(heights, -0.6 * heights, shape=(40, 40), grid_shape=(40, 52, 14), frame=FRAME)
    acquisition = replace(acquisition, geometry=acquisition.geometry.cropped((0, -12, 0), (40, 52, 14)))
    i, j, k = np.indices((40, 40, 8))
    ball = (i - 20) ** 2 + (j - 20) ** 2 + (2 * (heights[k] - 8)) ** 2 < 15**2
    assert dice(acquisition.to_slices(acquisition.to_grid(ball)), ball) > 0.97


# ---- HU


def constant(values):
    return lambda k: np.full((8, 9), values[k], dtype=np.float32)


def test_hu_between_two_slices_are_their_linear_mean():
    hu = acquired([0, 2, 8], [0, 0, 0]).hu_to_grid(constant([0, 10, 40]))
    assert hu.flags.f_contiguous and hu.dtype == np.float32
    assert np.allclose(hu[4, 4], [0, 10, 20, 30, 40])


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_the_number_of_threads_changes_nothing(threads):
    acquisition = acquired([0, 2, 3.5, 8], [0, 0.3, 1.7, 2.2], grid_shape=(8, 12, 5))
    slices = np.random.default_rng(0).normal(size=(4, 8, 9)).astype(np.float32)
    one = acquisition.hu_to_grid(slices.__getitem__, threads=1)
    assert np.array_equal(acquisition.hu_to_grid(slices.__getitem__, threads=threads), one)


def test_each_thread_asks_for_a_slice_once():
    asked: list[int] = []
    acquired([0, 2, 8], [0, 0, 0]).hu_to_grid(lambda k: asked.append(k) or np.zeros((8, 9), np.float32), threads=1)
    assert asked == [0, 1, 2]


def test_beyond_half_a_pixel_outside_a_slice_there_is_air_and_where_one_of_two_reaches_its_value():
    acquisition = acquired([0, 8], [0, 4.4], grid_shape=(8, 14, 5))
    row = acquisition.hu_to_grid(constant([100, 300]))[3]
    assert np.all(row[:9, 0] == 100) and np.all(row[9:, 0] == AIR_HU)
    assert np.all(row[:4, 2] == 100) and np.allclose(row[4:9, 2], 200) and np.all(row[9:13, 2] == 300)
    assert np.all(row[:4, 4] == AIR_HU) and np.all(row[4:13, 4] == 300) and row[13, 4] == AIR_HU


def test_a_shift_by_part_of_a_pixel_is_linear_within_the_slice():
    acquisition = acquired([0, 8], [0.25, 0.25], grid_shape=(8, 9, 5))
    ramp = np.arange(9, dtype=np.float32)[None] * np.ones((8, 1), dtype=np.float32)
    assert np.allclose(acquisition.hu_to_grid(lambda k: ramp)[2, 1:, 3], np.arange(1, 9) - 0.25)


# ---- records and refusals


@settings(deadline=None, max_examples=20)
@given(frames())
def test_an_acquisition_comes_back_from_its_json(frame):
    acquisition = replace(acquired([0, 1, 2.5], [0, 0.5, 2], frame=frame), tilt_deg=-7.5, invented=(1, 3))
    again = Acquisition.from_dict(json.loads(json.dumps(acquisition.as_dict())))
    assert (again.shape, again.tilt_deg, again.invented) == ((8, 9), -7.5, (1, 3))
    assert np.array_equal(again.affines, acquisition.affines)
    assert again.geometry.differences(acquisition.geometry) == [] and again.plain == acquisition.plain


DAMAGES = [
    *product(["shape", "affines", "grid", "tilt_deg", "invented"], [None, "x", float("nan")]),
    *product(["shape", "affines", "grid", "tilt_deg"], [[], {}, [1, 2, 3]]),
    *product(["shape", "affines", "grid", "invented"], [-1]),
    ("invented", [5]),
    ("shape", [0, 2]),
    ("affines", [[[1, 0, 0, 0]]]),
]


@pytest.mark.parametrize(("key", "value"), DAMAGES)
def test_a_damaged_record_is_refused(key, value):
    with pytest.raises(GeometryError):
        Acquisition.from_dict({**acquired([0, 2, 8], [0, 0, 0]).as_dict(), key: value})


def test_labels_of_another_shape_are_refused_with_both():
    acquisition = acquired([0, 2, 8], [0, 0, 0])
    with pytest.raises(GeometryError, match=r"not the labels of the slices; expected \(8, 9, 3\), got \(8, 9, 5\)"):
        acquisition.to_grid(np.zeros((8, 9, 5), dtype=int))
    with pytest.raises(GeometryError, match="not the labels of the volume"):
        acquisition.to_slices(np.zeros((8, 9, 3), dtype=int))


@pytest.mark.parametrize("heights", [[0, 4, 2], [0, 2, 2]])
def test_slices_out_of_order_are_refused(heights):
    with pytest.raises(GeometryError, match="order"):
        acquired(heights, [0, 0, 0])


def test_slices_of_another_pixel_size_are_refused():
    with pytest.raises(GeometryError, match="pixel size"):
        replace(acquired([0, 2], [0, 0]), geometry=Geometry((8, 9, 5), np.diag([1.0, 1.0, 2.0, 1.0])))


def test_a_volume_refuses_the_acquisition_of_another_grid():
    acquisition = acquired([0, 2, 8], [0, 0, 0])
    other = acquisition.geometry.cropped((0, 0, 1), (8, 9, 5))
    with pytest.raises(GeometryError, match="another grid"):
        Volume(np.zeros((8, 9, 5), dtype=np.float32), other, acquisition)
