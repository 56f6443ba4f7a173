"""A reading damaged structure by structure."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.damaged import damaged_reading, standard_damages
from medseg.evaluation.degrade import read_damage
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

GRID = Geometry((12, 12, 6), np.diag([1.0, 1.0, 2.0, 1.0]))
NAMES = LabelSet({"background": 0, "liver": 1, "tumour": 2})


def reading(**options) -> LabelMap:
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[3:9, 3:9, 1:5] = 1
    labels[0, 0, 0] = 2
    return LabelMap(labels, GRID, NAMES, **options)


@pytest.mark.parametrize("word", ["erode:1", "dilate:2", "shift:2,0,0", "drop:largest"])
def test_looking_at_the_box_alone_gives_what_the_whole_image_gives(word):
    damage, whole = read_damage(word), reading()
    found = damaged_reading({"M": whole}, "M", [], ["liver"], damage)
    expected = damage.apply(whole.mask("liver"), GRID.spacing_mm, {}, np.random.default_rng(0))
    assert np.array_equal(found.mask("liver"), expected) and not np.array_equal(expected, whole.mask("liver"))


def test_what_was_not_read_stays_unread():
    found = damaged_reading({"M": reading(labelled=("liver",), slices_read=(1, 3))}, "M", [], ["liver", "tumour"],
                            read_damage("erode:1"))  # fmt: skip
    assert found.was_read("liver") and not found.was_read("tumour") and found.slices_read == (1, 3)


def test_a_copy_is_the_other_readers_mask_and_never_the_players_own():
    other = LabelMap(np.ones(GRID.shape, dtype=np.uint8), GRID, NAMES)
    found = damaged_reading({"M": reading(), "A": other}, "M", ["A"], ["liver"], read_damage("copy:A"))
    assert found.mask("liver").all()
    with pytest.raises(UsageError, match=r"case c1, --degrade: .*no such reader"):
        damaged_reading({"M": reading(), "A": other}, "M", ["A"], ["liver"], read_damage("copy:M"), where="case c1")


def test_an_empty_structure_stays_empty():
    nothing = LabelMap(np.zeros(GRID.shape, dtype=np.uint8), GRID, NAMES)
    assert not damaged_reading({"M": nothing}, "M", [], ["liver"], read_damage("dilate:2")).mask("liver").any()


def test_standard_damage_moves_voxels_of_any_grid():
    assert str(standard_damages((1.0, 1.0, 5.0))[0]) == "erode by 5 mm"
