from __future__ import annotations

import numpy as np

from medseg.report.canvas import to_svg
from medseg.report.figures_curves import reliability, surface_distance_curves
from medseg.report.figures_map import embedding

BLOCK = {
    "probability": [0.1, None, 0.9],
    "observed_soft": [0.2, None, 0.8],
    "observed": [[0.1, None, 0.7], [0.3, None, 0.9]],
    "voxels": [400, 0, 100],
}


def lines(figure):
    return [line.get_xydata().tolist() for line in figure.axes[0].lines]


def test_reliability_leaves_empty_bins_out_and_shades_between_the_readers():
    axes = reliability({"unet": BLOCK}, "liver").axes[0]

    assert axes.lines[1].get_xydata().tolist() == [[0.1, 0.2], [0.9, 0.8]]
    corners = axes.collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (0.1, 0.9)


def test_bins_with_more_voxels_have_larger_points():
    sizes = reliability({"unet": BLOCK}, "liver").axes[0].collections[1].get_sizes()

    assert sizes[0] > sizes[1]


def test_reliability_without_any_voxel_is_the_diagonal_alone():
    empty = {"probability": [None], "observed_soft": [None], "observed": [[None]], "voxels": [0]}

    assert lines(reliability({"unet": empty}, "liver")) == [[[0, 0], [1, 1]]]


def curves(model, human=(0.5, 1.0)):
    return {"tolerance_mm": [0.0, 1.0], "human_human": human, "model_human": model, "n_patients": 7}


def test_the_curves_of_readers_and_model_share_one_axis_with_the_tolerance():
    figure = surface_distance_curves({"unet": curves([0.4, 0.9])}, "liver", tolerance_mm=0.5)

    assert lines(figure)[:2] == [[[0, 0.5], [1, 1]], [[0, 0.4], [1, 0.9]]]
    assert figure.axes[0].lines[2].get_xdata()[0] == 0.5
    assert "n = 7 patients" in to_svg(figure)


def test_models_that_share_their_cases_share_the_readers_curve():
    same = surface_distance_curves({"a": curves([0.4, 0.9]), "b": curves([0.3, 0.9])}, "liver")
    other = surface_distance_curves({"a": curves([0.4, 0.9]), "b": curves([0.3, 0.9], (0.6, 1.0))}, "liver")

    assert (len(same.axes[0].lines), len(other.axes[0].lines)) == (3, 4)


def test_curves_of_readers_alone_are_drawn():
    figure = surface_distance_curves({"readers": curves(None)}, "liver")

    assert lines(figure) == [[[0, 0.5], [1, 1]]]


def test_the_map_places_names_and_counts_those_without_a_place():
    block = {"names": ["A", "B", "unet"], "coordinates": [[0, 1], [None, 0], [2, 0]], "explained": 0.834}

    figure = embedding(block, "liver", models=["unet"])

    assert lines(figure) == [[[0, 1]], [[2, 0]]]
    assert figure.axes[0].get_title() == "liver (1 not placed)"
    assert "two dimensions hold 83 %" in to_svg(figure)


def test_a_distance_on_the_map_is_as_long_along_either_axis():
    block = {"names": ["A", "B"], "coordinates": np.array([[0.0, 0.0], [1.0, 3.0]])}

    assert embedding(block, "liver").axes[0].get_aspect() == 1
