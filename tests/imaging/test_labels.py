import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryError, LabelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import IGNORE_INDEX, LabelMap, LabelSet, whole_numbers

LABELS = LabelSet(
    {"liver": 7, "background": 2, "kidney_left": 300, "kidney_right": -4},
    mirror_pairs=(("kidney_left", "kidney_right"),),
    ignore=255,
)
GRID = Geometry((2, 2, 4), np.eye(4))

values = st.lists(st.integers(-(2**15), 2**15 - 1), min_size=2, max_size=8, unique=True)


def test_class_index_0_is_the_background_wherever_it_stands_in_the_list():
    assert LABELS.names == ("background", "liver", "kidney_left", "kidney_right")
    assert LABELS.foreground == ("liver", "kidney_left", "kidney_right")
    assert LABELS.mirror_indices == ((2, 3),)


def test_file_values_become_class_indices_and_ignore_its_own():
    assert LABELS.to_indices(np.array([2, 7, 300, -4, 255])).tolist() == [0, 1, 2, 3, IGNORE_INDEX]
    assert LABELS.to_values(np.array([0, 1, 2, 3, IGNORE_INDEX])).tolist() == [2, 7, 300, -4, 255]


@settings(deadline=None, max_examples=30)
@given(values, st.integers(0, 99))
def test_arbitrary_values_survive_the_way_to_indices_and_back(used, seed):
    labels = LabelSet(
        {"background" if i == 0 else f"s{i}": value for i, value in enumerate(used[:-1])}, ignore=used[-1]
    )
    array = np.random.default_rng(seed).choice(used, (3, 4, 5))
    indices = labels.to_indices(array)
    assert np.array_equal(labels.to_values(indices), array)
    assert np.array_equal(indices == IGNORE_INDEX, array == used[-1])


def test_values_that_the_list_does_not_know_are_all_named():
    with pytest.raises(LabelError, match=r"expected liver 7, background 2.*got 3, 9\. Add them under `labels:`"):
        LABELS.to_indices(np.array([[2, 9], [3, 7]]))


def test_ignored_voxels_without_a_value_for_them_are_never_written_as_a_structure():
    with pytest.raises(LabelError, match="ignore"):
        LabelSet({"background": 0, "liver": 1}).to_values(np.array([0, IGNORE_INDEX]))


@pytest.mark.parametrize(
    ("kind", "highest"), [(np.uint8, 255), (np.int16, 256), (np.int16, 32767), (np.int32, 32768), (np.int32, 10**6)]
)
def test_file_values_take_the_smallest_type_that_holds_them(kind, highest):
    written = LabelSet({"background": 0, "liver": highest}).to_values(np.array([0, 1]))
    assert written.dtype == kind
    assert written.tolist() == [0, highest]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"values": {"liver": 1}}, "no background"),
        ({"values": {"background": 0, "liver": 0}}, "used twice"),
        ({"values": {"background": 0, "liver": 1}, "ignore": 1}, "used twice"),
        ({"values": {"background": 0, "liver": 1}, "mirror_pairs": (("liver", "lung"),)}, "unknown label 'lung'"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused(arguments, told):
    with pytest.raises(LabelError, match=told):
        LabelSet(**arguments)


def reading(**options) -> LabelMap:
    array = np.full((2, 2, 4), 2, dtype=np.int16)
    array[:, :, 1:3] = 7
    return LabelMap(array, GRID, LABELS, **options)


def test_a_mask_is_where_the_file_has_the_structures_value():
    assert reading().mask("liver").sum() == 8
    assert reading().mask("kidney_left").sum() == 0
    with pytest.raises(LabelError, match="unknown label 'spleen'; expected one of liver"):
        reading().mask("spleen")


def test_slices_that_were_not_read_are_missing_not_empty():
    labels = reading(slices_read=(1, 1))
    assert labels.read_slices[0, 0].tolist() == [False, True, False, False]
    assert labels.indices[0, 0].tolist() == [IGNORE_INDEX, 1, IGNORE_INDEX, IGNORE_INDEX]
    assert reading().read_slices.all()


def test_a_structure_that_a_rater_did_not_look_for_was_not_read():
    labels = reading(labelled=("liver",))
    assert labels.was_read("liver")
    assert not labels.was_read("kidney_left")
    assert reading().was_read("kidney_left")


def test_an_array_on_another_shape_than_its_grid_is_refused():
    with pytest.raises(GeometryError, match=r"expected \(2, 2, 4\), got \(2, 2, 5\)"):
        LabelMap(np.zeros((2, 2, 5), dtype=np.int16), GRID, LABELS)


def test_boxes_of_all_structures_are_found_around_their_voxels():
    array = np.zeros((12, 8, 8), dtype=np.uint8)
    array[:4, 2:6, 1:7], array[10:12, 2:6, 1:7] = 5, 2
    labels = LabelSet({"background": 0, "liver": 5, "lesion": 2, "spleen": 3})
    boxes = LabelMap(array, Geometry(array.shape, np.eye(4)), labels).boxes()
    assert boxes == {"liver": np.s_[0:4, 2:6, 1:7], "lesion": np.s_[10:12, 2:6, 1:7]}


def test_boxes_of_large_and_negative_label_values_are_found_too():
    array = np.zeros((3, 3, 3), dtype=np.int32)
    array[0], array[2] = 100_000, -4
    labels = LabelSet({"background": 0, "far": 100_000, "negative": -4})
    boxes = LabelMap(array, Geometry((3, 3, 3), np.eye(4)), labels).boxes()
    assert boxes == {"far": np.s_[0:1, 0:3, 0:3], "negative": np.s_[2:3, 0:3, 0:3]}


@pytest.mark.parametrize(("value", "kind"), [(255, "uint8"), (-1, "int16"), (40_000, "int32"), (2**40, "int64")])
def test_whole_numbers_take_the_smallest_integer_type(value, kind):
    assert whole_numbers(np.array([0.0, value])).dtype == kind
    assert whole_numbers(np.array([0, value])).tolist() == [0, value]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e30])
def test_values_that_are_no_whole_numbers_are_refused(value):
    with pytest.raises(LabelError, match=r"a\.nii: 1 label voxels are no integers"):
        whole_numbers(np.array([0.0, value]), where="a.nii")


def test_values_beyond_64_bits_are_refused():
    with pytest.raises(LabelError, match="do not fit into 64 bits; got 18446744073709551615"):
        whole_numbers(np.array([2**64 - 1], dtype=np.uint64))
