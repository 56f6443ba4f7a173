"""Which slices of a case are kept, how they lie on the page, and the file that holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError
from medseg.training.events import ValidationEvent
from medseg.workflows.watching_slices import FOLLOWED, WORST, Slices, read_pictures

LABELS = ("background", "liver", "spleen")
SHAPE = (6, 5, 8)  # X, Y, Z


def look(slices: Slices, case: str, reference: np.ndarray, prediction: np.ndarray) -> None:
    hu = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    slices.look(case, hu, reference, prediction)


def labels(**boxes: tuple[slice, slice, slice]) -> np.ndarray:
    found = np.zeros(SHAPE, np.int16)
    for name, box in boxes.items():
        found[box] = LABELS.index(name)
    return found


def test_the_worst_structure_is_kept_where_it_differs_most(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (1.0, 1.0, 1.0))
    liver, spleen = np.s_[0:6, 0:5, 0:4], np.s_[0:2, 0:2, 5:8]
    reference = labels(liver=liver, spleen=spleen)
    prediction = labels(liver=liver, spleen=np.s_[0:2, 0:2, 5:6])  # half of the spleen's slices
    prediction[3:5, 3:5, 7] = 2  # and something else in the last one

    look(slices, "c1", reference, prediction)

    assert (slices.worst["c1"].structure, slices.worst["c1"].place) == ("spleen", 7)


def test_the_page_has_the_patient_s_right_on_the_left_and_the_front_at_the_top(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (2.0, 3.0, 5.0))
    right_front = labels(liver=np.s_[4:6, 3:5, 2:3])  # the highest X (right) and Y (front)

    look(slices, "c1", right_front, right_front)

    seen = slices.worst["c1"]
    assert seen.reference.shape == (5, 6) and seen.pixel_mm == (3.0, 2.0)
    assert np.argwhere(seen.reference == 1).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_case_without_any_mark_shows_its_middle(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (1.0, 1.0, 1.0))

    look(slices, "c1", labels(), labels())

    assert (slices.worst["c1"].structure, slices.worst["c1"].place) == ("", 4)


def test_unread_voxels_are_no_structure(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (1.0, 1.0, 1.0))
    unread = labels()
    unread[...] = -1

    look(slices, "c1", unread, unread)

    assert slices.worst["c1"].structure == ""


def test_the_same_first_cases_are_followed_at_every_validation(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (1.0, 1.0, 1.0))
    cases = [f"c{number}" for number in range(FOLLOWED + 2)]

    for case in [*cases, *reversed(cases)]:
        look(slices, case, labels(), labels())

    assert list(slices.followed) == cases[:FOLLOWED]


def test_the_file_holds_the_worst_cases_of_the_last_validation(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (1.0, 1.0, 1.0))
    scores = {f"c{number}": {"liver": number / 10} for number in range(WORST + 3)}
    for step in (5, 10):
        for case in scores:
            look(slices, case, labels(liver=np.s_[0:2, 0:2, 0:2]), labels())
        slices.validation(ValidationEvent(step, {"liver": 0.4}, 0.4, scores))

    step, kept, names = read_pictures(tmp_path / "pictures.npz")

    assert (step, [seen.case for seen in kept]) == (10, [f"c{number}" for number in range(WORST)])
    assert names == list(LABELS)
    np.testing.assert_array_equal(kept[0].prediction, np.zeros((5, 6)))
    assert kept[0].hu is not None and kept[0].hu.dtype == np.int16


def test_without_images_no_grey_value_is_written(tmp_path: Path) -> None:
    slices = Slices(tmp_path, LABELS, (1.0, 1.0, 1.0), images=False)
    look(slices, "c1", labels(), labels())

    slices.validation(ValidationEvent(5, {}, 0.0, {"c1": {"liver": 0.5}}))

    with np.load(tmp_path / "pictures.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"facts", "reference_0", "prediction_0"}


def test_no_file_is_no_picture(tmp_path: Path) -> None:
    assert read_pictures(tmp_path / "pictures.npz") == (-1, [], [])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no zip at all" * 9])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pictures.npz"
    path.write_bytes(content)

    with pytest.raises(FileReadError, match=r"pictures\.npz: the pictures of the run cannot be read"):
        read_pictures(path)
