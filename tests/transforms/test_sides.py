"""Left and right: names that have a side, pairs that are declared, and classes that change names."""

import pytest
import torch

from medseg.errors import LabelError
from medseg.transforms.sides import mirror_advice, mirrored_name, renamed, swap_classes

KIDNEYS = ["background", "liver", "kidney_left", "kidney_right"]


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("kidney_left", "kidney_right"),
        ("Left Kidney", "Right Kidney"),
        ("leftKidney", "rightKidney"),
        ("RIB_LEFT_1", "RIB_RIGHT_1"),
        ("lung_l", "lung_r"),
        ("Lung_R", "Lung_L"),
        ("L kidney", "R kidney"),
        ("Parotid-Lt", "Parotid-Rt"),
    ],
)
def test_a_name_with_a_side_has_a_mirrored_name(name, mirrored):
    assert mirrored_name(name) == mirrored and mirrored_name(mirrored) == name


@pytest.mark.parametrize(
    "name",
    ["liver", "vertebra_L1", "L5_vertebra", "L4", "cleft", "bright", "left_and_right_lung", "l", "a_l_b", "", "1"],
)
def test_a_name_without_one_side_has_none(name):
    assert mirrored_name(name) is None


def test_declared_pairs_need_no_advice():
    assert mirror_advice(KIDNEYS, [(2, 3)]).sentence is None


def test_undeclared_sides_are_named_with_the_pair_to_declare():
    advice = mirror_advice(KIDNEYS, [])
    assert advice.unpaired == ("kidney_left", "kidney_right")
    assert advice.suggested == (("kidney_left", "kidney_right"),)
    assert advice.sentence is not None and "[kidney_left, kidney_right]" in advice.sentence


def test_a_side_without_a_partner_among_the_classes_is_named_alone():
    advice = mirror_advice(["background", "adrenal_left", "liver"], [])
    assert advice.unpaired == ("adrenal_left",) and advice.suggested == ()
    assert advice.sentence is not None and "adrenal_left names a side" in advice.sentence


def test_names_without_sides_need_no_pairs():
    assert mirror_advice(["background", "liver", "vertebra_L1"], []).unpaired == ()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_loop_and_torch_operations_rename_alike(dtype):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 120, (2, 7, 6, 5), dtype=dtype, generator=generator)
    swapped = swap_classes(labels, [(1, 2), (100, 7)])
    names = torch.arange(101)
    names[[1, 2, 100, 7]] = torch.tensor([2, 1, 7, 100])
    assert swapped.dtype == dtype and torch.equal(swapped, renamed(labels, names.numpy()))
    assert torch.equal(swap_classes(swapped, [(1, 2), (100, 7)]), labels)


def test_ignored_and_unknown_labels_stay():
    labels = torch.tensor([-1, 0, 1, 2, 255], dtype=torch.int16).reshape(1, 5, 1, 1)
    assert swap_classes(labels, [(1, 2)]).flatten().tolist() == [-1, 0, 2, 1, 255]


def test_masks_may_hold_a_pair_with_the_background():
    mask = torch.tensor([True, False]).reshape(1, 2, 1, 1)
    assert swap_classes(mask, [(0, 1)]).flatten().tolist() == [False, True]


def test_a_class_beyond_the_type_is_refused():
    with pytest.raises(LabelError, match=r"below 128, got \(1, 200\)"):
        swap_classes(torch.ones(1, 2, 2, 2, dtype=torch.int8), [(1, 200)])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int16, torch.float32], ids=str)
def test_on_another_device_no_value_is_ever_read_back(dtype):
    labels = torch.zeros(3, 4, 4, 4, dtype=dtype, device="meta")  # holds no values, so asking for one is an error
    swapped = swap_classes(labels, [(0, 1)])
    assert swapped.dtype == dtype and swapped.shape == labels.shape and swapped.device.type == "meta"
