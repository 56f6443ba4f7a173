"""The pictures of a preview: their grid, their planes, and what is drawn on them."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.report.preview_views import MOST_VOXELS, build_scene, preview_grid, views, where_it_acts

LABELS = LabelSet({"background": 0, "left": 7, "right": 9})


def small_case() -> tuple[Volume, np.ndarray]:
    indices = np.zeros((12, 10, 8), np.int16)
    indices[2:4, 3:7, 2:6], indices[8:10, 3:7, 2:6] = 1, 2
    return Volume(np.full(indices.shape, 40.0, np.float32), Geometry(indices.shape, np.diag([2, 2, 3, 1.0]))), indices


def test_a_small_study_keeps_its_own_grid_turned_upright() -> None:
    grid = Geometry((20, 30, 10), np.diag([-1.0, -1.0, 3.0, 1.0]))

    assert preview_grid(grid).orientation == "RAS"
    np.testing.assert_allclose(preview_grid(grid).spacing_mm, (1, 1, 3))


def test_a_large_study_is_made_coarser_along_its_fine_axes_first() -> None:
    grid = preview_grid(Geometry((512, 512, 80), np.diag([0.8, 0.8, 5.0, 1.0])))

    assert 0.7 * MOST_VOXELS < np.prod(grid.shape) <= MOST_VOXELS * 1.02
    assert grid.spacing_mm[2] == 5 and grid.spacing_mm[0] == grid.spacing_mm[1] > 0.8


def test_a_single_reader_s_structures_have_colours_of_their_own() -> None:
    volume, indices = small_case()
    alone = build_scene(volume, {"A": indices}, LABELS, (-160, 240))
    several = build_scene(volume, {"A": indices, "B": indices}, LABELS, (-160, 240))

    assert set(alone.pens) == {"left", "right"} and set(several.pens) == {"A", "B"}


def test_the_planes_go_through_the_labels() -> None:
    volume, indices = small_case()
    scene = build_scene(volume, {"A": indices}, LABELS, (-160, 240))

    drawn = views(scene, volume.hu, [indices])

    assert len(drawn) == 2
    assert all("A: left" in svg and "A: right" in svg for svg in drawn)


def test_a_result_of_another_shape_is_drawn_too() -> None:
    volume, indices = small_case()
    scene = build_scene(volume, {"A": indices}, LABELS, (-160, 240))

    drawn = views(scene, volume.hu.transpose(2, 0, 1), [indices.transpose(2, 0, 1)])

    assert len(drawn) == 2 and all("<svg" in svg for svg in drawn)


def test_planes_move_to_a_change_that_they_do_not_show_and_to_no_other() -> None:
    volume, indices = small_case()
    scene = build_scene(volume, {"A": indices}, LABELS, (-160, 240))
    level = scene.cuts[0].index
    after = volume.hu.copy()
    after[:, :, level + 2] += 50

    moved, told = where_it_acts(scene, volume.hu, after)

    assert [cut.index for cut in moved.cuts] == [level + 2, scene.cuts[1].index]
    assert told == ("axial slice +2",)


def test_planes_stay_where_the_change_is_everywhere() -> None:
    volume, indices = small_case()
    scene = build_scene(volume, {"A": indices}, LABELS, (-160, 240))

    moved, told = where_it_acts(scene, volume.hu, volume.hu + 1)

    assert [cut.index for cut in moved.cuts] == [cut.index for cut in scene.cuts] and told == ()


def test_the_ends_of_the_window_are_black_and_white() -> None:
    volume, indices = small_case()
    scene = build_scene(volume, {}, LABELS, (0.0, 1.0))
    pictures = [
        [svg.split('href="')[1] for svg in views(scene, np.full(indices.shape, value, np.float32), [])]
        for value in (-1.0, 0.0, 1.0, 2.0)
    ]

    assert pictures[0] == pictures[1] != pictures[2] == pictures[3]


@pytest.mark.parametrize("images", [True, False])
def test_names_are_escaped(images: bool) -> None:
    volume, indices = small_case()
    scene = build_scene(volume, {"<b>": indices}, LABELS, (-160, 240), images)

    assert all("<b>" not in svg and "&lt;b&gt;: left" in svg for svg in views(scene, volume.hu, [indices]))
