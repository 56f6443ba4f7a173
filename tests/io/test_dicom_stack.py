import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.errors import DicomError, MedsegError, UsageError
from medseg.imaging.slice_shift import AIR_HU
from medseg.io.dicom import read_series
from medseg.io.dicom_run import told_gaps
from medseg.io.dicom_stack import SlicePlane, Stack, stack_planes

SHAPE = (6, 5)  # pixel rows, columns
PIXEL_MM = (0.5, 0.8)


def planes(heights, *, tilt_deg=0.0, drift=(0.0, -1.0), turned=(0.0, 0.0, 0.0), shape=SHAPE) -> list[SlicePlane]:
    """Slices at heights along their normal, moved sideways along (row, column) by the tilt."""
    turn = Rotation.from_euler("xyz", turned, degrees=True).as_matrix()
    row, column, normal = turn.T
    shear = np.tan(np.radians(tilt_deg)) * (drift[0] * row + drift[1] * column)
    start = np.array([-120.0, -90.0, 30.0])
    return [SlicePlane(start + (normal + shear) * height, row, column, PIXEL_MM, shape) for height in heights]


def moved(plane: SlicePlane, *mm: float) -> SlicePlane:
    return replace(plane, position=plane.position + np.array(mm))


def values(stack: Stack, slices: list[SlicePlane], field) -> tuple[np.ndarray, np.ndarray]:
    """A field of RAS positions sampled on the slices and resampled to the grid, and sampled on the grid itself."""
    acquisition = stack.acquisition
    i, j = np.meshgrid(*[np.arange(n) for n in acquisition.shape], indexing="ij")
    flat = np.stack([i.ravel(), j.ravel(), 0 * i.ravel(), 1 + 0 * i.ravel()])
    hu = np.stack([field((affine @ flat)[:3].T).reshape(i.shape) for affine in acquisition.affines], axis=2)
    grid = np.argwhere(np.ones(stack.geometry.shape))
    return stack.to_grid(hu.astype(np.float32)), field(stack.geometry.world(grid)).reshape(stack.geometry.shape)


def ramp(world: np.ndarray) -> np.ndarray:
    return world @ np.array([1.0, -2.0, 3.0]) + 40


# ---- order and spacing


@pytest.mark.parametrize("seed", range(3))
def test_slices_are_ordered_by_their_height_whatever_their_order(seed):
    order = np.random.default_rng(seed).permutation(9)
    slices = planes(2.5 * np.arange(9), turned=(20, 30, 40))
    stack = stack_planes([slices[k] for k in order])
    assert [order[group[0]] for group in stack.groups] == list(range(9))
    assert stack.geometry.spacing_mm == pytest.approx((0.8, 0.5, 2.5), abs=1e-5)
    assert stack.acquisition.plain and not stack.acquisition.invented


def test_slices_at_one_place_are_grouped():
    assert stack_planes(planes([0, 2, 2, 4])).groups == ((0,), (1, 2), (3,))


def test_the_grid_is_in_ras_with_x_along_pixel_rows():
    geometry = stack_planes(planes([0, 2, 4])).geometry
    assert geometry.shape == (5, 6, 3)
    assert np.allclose(geometry.affine, [[-0.8, 0, 0, 120], [0, -0.5, 0, 90], [0, 0, 2, 30], [0, 0, 0, 1]])


def test_the_slices_of_the_acquisition_lie_where_the_headers_say():
    slices = planes([0, 2, 4.5], tilt_deg=10, turned=(5, 6, 7))
    acquisition = stack_planes(slices, gaps="resample").acquisition
    starts = acquisition.affines[:, :3, 3] * (-1, -1, 1)
    assert np.allclose(starts, [plane.position for plane in slices])
    assert np.allclose(acquisition.affines[:, :3, 2] * (-1, -1, 1), slices[0].normal)


@pytest.mark.parametrize("heights", [[round(0.625 * k, 1) for k in range(60)], [0, 1.0, 2.05, 3.0]])
def test_positions_rounded_to_a_tenth_are_even(heights):
    stack = stack_planes(planes(heights))
    assert stack.geometry.shape[2] == len(heights) and stack.acquisition.plain


def test_sideways_positions_rounded_to_a_tenth_are_no_tilt():
    slices = planes(np.arange(4.0))
    slices = [moved(plane, 0, 0.05 * (-1) ** k, 0) for k, plane in enumerate(slices)]
    acquisition = stack_planes(slices).acquisition
    assert acquisition.tilt_deg == 0 and acquisition.plain


# ---- gantry tilt


@settings(deadline=None, max_examples=40)
@given(
    st.floats(-30, 30).filter(lambda angle: abs(angle) > 1),
    st.sampled_from([(0.0, -1.0), (-1.0, 0.0)]),
    st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_the_tilt_is_found_with_its_sign_and_resampled_to_an_upright_grid(angle, drift, turned):
    slices = planes(3.0 * np.arange(5), tilt_deg=angle, drift=drift, turned=turned)
    stack = stack_planes(slices)
    x, y, z = stack.geometry.direction.T
    assert stack.acquisition.tilt_deg == pytest.approx(angle, abs=1e-3)
    assert abs(x @ z) < 1e-6 and abs(y @ z) < 1e-6
    assert stack.geometry.spacing_mm == pytest.approx((0.8, 0.5, 3.0), abs=1e-4)
    assert not stack.acquisition.plain and not stack.acquisition.invented
    got, expected = values(stack, slices, ramp)
    inside = got != AIR_HU
    assert inside.sum() >= 5 * 30 * 0.8
    edge = 0.5 * np.abs(np.array([1.0, -2.0, 3.0])).sum()  # half a pixel beyond the slices the edge is repeated
    assert np.abs(got - expected)[inside].max() <= edge


@pytest.mark.parametrize("angle", [-18.0, 7.0, 30.0])
def test_the_upright_grid_covers_every_acquired_voxel(angle):
    slices = planes(3.0 * np.arange(7), tilt_deg=angle, turned=(10, 0, 0))
    stack = stack_planes(slices)
    corners = np.array([[i, j, 0, 1] for i in (0, 4) for j in (0, 5)]).T
    for affine in stack.acquisition.affines:
        index = stack.geometry.index((affine @ corners)[:3].T)
        assert (index > -1e-3).all() and (index < np.array(stack.geometry.shape) - 1 + 1e-3).all()


@pytest.mark.parametrize("angle", [-18.0, 2.0, 30.0])
def test_a_kept_tilt_is_the_sheared_grid_of_the_slices_themselves(angle):
    slices = planes(3.0 * np.arange(5), tilt_deg=angle)
    stack = stack_planes(slices, tilt="keep")
    hu = np.random.default_rng(0).normal(size=(5, 6, 5)).astype(np.float32)
    last = stack.geometry.world(np.array([[0, 0, 4]]))[0] * (-1, -1, 1)
    assert stack.acquisition.plain and stack.geometry.shape == (5, 6, 5)
    assert np.allclose(last, slices[-1].position, atol=1e-3)
    assert stack.to_grid(hu) is hu


def test_a_refused_tilt_is_told_with_degrees_and_the_option():
    with pytest.raises(
        DicomError, match=r"^s1: the gantry is tilted by -12.0 degrees;.*`--tilt resample`.*`--tilt keep`"
    ):
        stack_planes(planes([0, 2, 4], tilt_deg=-12), tilt="refuse", where="s1")


@pytest.mark.parametrize("tilt", ["resample", "keep"])
def test_a_shear_that_no_gantry_makes_is_refused(tilt):
    with pytest.raises(DicomError, match=r"sheared by 60.0 degrees.*at most 45 degrees"):
        stack_planes(planes([0, 2, 4], tilt_deg=60), tilt=tilt)


def test_a_slice_out_of_line_is_refused_with_its_mm_and_is_no_tilt():
    slices = planes(2.0 * np.arange(8))
    slices[7] = moved(slices[7], 3, 0, 0)
    with pytest.raises(DicomError, match=r"1 of 8 slices are shifted sideways.*at most 0.1 mm, got 3 mm at slice 8"):
        stack_planes(slices, gaps="resample")


def test_two_images_at_one_height_but_side_by_side_are_refused():
    slices = planes([0, 2, 2, 4])
    slices[2] = moved(slices[2], 0, 7, 0)
    with pytest.raises(DicomError, match=r"one height are shifted sideways.*got 7 mm"):
        stack_planes(slices)


# ---- gaps


def test_gaps_are_refused_with_all_of_them_their_places_and_the_option():
    with pytest.raises(DicomError) as caught:
        stack_planes(planes([0, 2, 4, 8, 10, 11, 13, 17]), where="s1")
    told = str(caught.value)
    assert "gaps of 1 mm (once), 2 mm (4 times), 4 mm (2 times)" in told
    assert "the 1 mm one after slice 5, the 4 mm ones after slices 3 and 7 of 8" in told
    assert told.startswith("s1: ") and "`--gaps resample`" in told and "tilted" not in told


def test_tilt_and_gaps_are_told_together():
    with pytest.raises(DicomError, match=r"tilted by 9.0 degrees; the slices are unevenly spaced.*--tilt.*--gaps"):
        stack_planes(planes([0, 2, 4, 8], tilt_deg=9), tilt="refuse")


def test_many_different_gaps_are_told_in_a_short_sentence():
    positions = np.cumsum(np.linspace(1, 40, 200))[:, None] * np.array([[0.0, 0.0, 1.0]])
    assert "others up to 40 mm" in told_gaps(positions) and len(told_gaps(positions)) < 1500


@pytest.mark.parametrize(("missing", "tilt_deg"), [((3,), 0.0), ((2, 3, 4, 8), 0.0), ((2, 6), 11.0)])
def test_missing_slices_are_interpolated_and_marked_and_the_others_kept(missing, tilt_deg):
    heights = np.array([round(0.7 * k, 1) for k in range(11) if k not in missing])
    slices = planes(heights, tilt_deg=tilt_deg)
    stack = stack_planes(slices, gaps="resample", tilt="keep")
    assert stack.geometry.shape[2] == 11 and stack.acquisition.invented == missing
    hu = np.random.default_rng(0).normal(0, 300, (5, 6, len(heights))).astype(np.float32)
    kept = [k for k in range(11) if k not in missing]
    assert np.array_equal(stack.to_grid(hu)[:, :, kept], hu)


def test_an_invented_slice_is_the_linear_mean_of_its_neighbours():
    stack = stack_planes(planes([0, 1, 2, 5, 6, 7]), gaps="resample")
    hu = np.arange(6.0, dtype=np.float32)[None, None] * np.ones((5, 6, 1), dtype=np.float32)
    assert np.allclose(stack.to_grid(hu)[2, 3], [0, 1, 2, 2 + 1 / 3, 2 + 2 / 3, 3, 4, 5])


def test_uneven_slices_get_planes_as_close_as_the_closest_but_at_most_two_a_slice():
    close = stack_planes(planes([0, 2, 4.5, 6.5, 9]), gaps="resample").geometry
    capped = stack_planes(planes([0, 4, 8, 8.3, 12]), gaps="resample").geometry
    assert close.shape[2] == 6 and close.spacing_mm[2] == pytest.approx(1.8, abs=1e-5)
    assert capped.shape[2] == 10 and capped.spacing_mm[2] == pytest.approx(12 / 9, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from((1.0, 1.3, 2.0, 3.1)), min_size=3, max_size=8),
    st.sampled_from((0.0, -17.0, 12.0)),
    st.sampled_from(("resample", "keep")),
)
def test_tilt_and_gaps_together_reproduce_a_ramp_within_the_slices(gaps, tilt_deg, tilt):
    slices = planes(np.concatenate([[0], np.cumsum(gaps)]), tilt_deg=tilt_deg, shape=(30, 6))
    stack = stack_planes(slices, gaps="resample", tilt=tilt)
    got, expected = values(stack, slices, ramp)
    y = got.shape[1] // 2  # a row that every slice reaches
    assert np.abs(got - expected)[1:-1, y].max() < 0.7  # a slice within 0.1 mm of a plane counts as that plane
    assert set(stack.acquisition.invented) | set(stack.acquisition.plane_of_slice) == set(range(got.shape[2]))


def test_a_hole_much_larger_than_what_was_acquired_is_refused():
    with pytest.raises(DicomError, match=r"too large to interpolate.*at most 48 planes, got 502"):
        stack_planes(planes([*range(10), 500, 501]), gaps="resample")


# ---- what cannot be a volume


@pytest.mark.parametrize(
    ("slices", "reason"),
    [
        (planes([0, 2]), "too few slices.*at least 3, got 2"),
        (planes([5, 5, 5]), "all 3 images show one place"),
        (planes([0, 1, 2]) + planes([3], turned=(0, 0, 5)), "2 different directions"),
        (planes([0, 1, 2]) + planes([3], shape=(6, 7)), "different size"),
        (planes([0, 4000, 8000]), "too far apart for one patient.*at most 5000 mm"),
        ([moved(plane, 1e7, 0, 0) for plane in planes([0, 1, 2])], "where no patient can"),
        ([replace(plane, pixel_mm=(1e-3, 1e-3)) for plane in planes([0, 99, 198], tilt_deg=40)],
         "grid of a tilt by 40.*too large"),
    ],
)  # fmt: skip
def test_what_is_no_volume_is_refused_for_its_reason(slices, reason):
    with pytest.raises(DicomError, match=reason):
        stack_planes(slices, gaps="resample")


@pytest.mark.parametrize("options", [{"tilt": "yes"}, {"gaps": "keep"}])
def test_an_unknown_option_lists_the_known(options):
    with pytest.raises(UsageError, match=r"expected .*(resample|refuse)"):
        stack_planes(planes([0, 1, 2]), **options)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=8), st.floats(1e-6, 1e4))
def test_any_positions_give_a_grid_or_one_readable_error(positions, pixel):
    plane = planes([0])[0]
    slices = [replace(plane, position=np.array(position), pixel_mm=(pixel, pixel)) for position in positions]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            geometry = stack_planes(slices, gaps="resample").geometry
        except MedsegError as error:
            assert "\n" not in str(error)
        else:
            assert np.prod(geometry.shape[:2]) <= 8192**2 and geometry.shape[2] <= 4 * len(slices)


# ---- a real tilted and uneven head (dcm2niix writes 512 x 512 x 28 and, corrected, 512 x 611 x 56)


def test_the_corrected_head_lies_on_the_grid_that_dcm2niix_chooses(shared_data: Path):
    volume = read_series(shared_data / "dicom" / "ge_tilt", gaps="resample")
    assert volume.acquisition is not None
    assert volume.acquisition.tilt_deg == pytest.approx(18.5, abs=0.01)
    assert volume.geometry.shape == (512, 611, 56)
    # its affine with the second axis counted from the other end, as dcm2niix flips the rows
    expected = [[-0.48828119, 0, 0, 125], [0, -0.46304858, -0.83127069, 169.382262],
                [0, -0.1549339, 2.48440599, 21.1745118], [0, 0, 0, 1]]  # fmt: skip
    assert np.abs(volume.geometry.affine - expected).max() < 1e-4


def test_the_corrected_head_has_the_voxels_of_dcm2niix(shared_data: Path, tmp_path: Path):
    dcm2niix = pytest.importorskip("dcm2niix", reason="dcm2niix is not installed")
    nibabel = pytest.importorskip("nibabel")
    call = ["-z", "n", "-f", "head", "-o", str(tmp_path), str(shared_data / "dicom" / "ge_tilt")]
    if dcm2niix.main(call, capture_output=True).returncode:
        pytest.skip("dcm2niix does not run here")
    theirs = np.asarray(nibabel.load(next(tmp_path.glob("*_Eq*.nii"))).dataobj)[:, ::-1].astype(np.float32)
    ours = read_series(shared_data / "dicom" / "ge_tilt", gaps="resample").hu
    both = (ours > -1000) & (theirs > -1000)
    differences = np.abs(ours - theirs)[both]
    assert both.mean() > 0.3
    assert differences.mean() < 0.5  # it rounds to whole HU twice
    assert (differences > 2).mean() < 4e-3  # beside padding, which it leaves out of the interpolation
