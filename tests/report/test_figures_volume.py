from __future__ import annotations

import numpy as np
import pytest

from medseg.report.canvas import to_svg
from medseg.report.figures_volume import bland_altman, volume_bands


def pair(a, b, volumes, kind="human-human"):
    sizes = {"volume_a_ml": volumes[0], "volume_b_ml": volumes[1]}
    return {"case": "c1", "label": "liver", "a": a, "b": b, "kind": kind} | sizes


def clouds(figure):
    return [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_linestyle() == "None"]


def heights(figure):
    return [float(line.get_ydata()[0]) for line in figure.axes[0].lines if line.get_linestyle() != "None"]


def test_volume_differences_are_model_minus_reader_whichever_stands_first():
    pairs = [pair("unet", "A", (15.0, 10.0), "model-human"), pair("A", "unet", (10.0, 15.0), "model-human")]

    assert clouds(bland_altman(pairs, "liver", models=["unet"])) == [[[12.5, 5.0], [12.5, 5.0]]]


def test_two_readers_have_no_order_so_their_differences_are_symmetric():
    assert clouds(bland_altman([pair("A", "B", (10.0, 12.0))], "liver")) == [[[11.0, 2.0], [11.0, -2.0]]]


def test_readers_and_model_share_one_pair_of_axes():
    pairs = [pair("A", "B", (10.0, 12.0)), pair("unet", "A", (15.0, 10.0), "model-human")]

    figure = bland_altman(pairs, "liver", models=["unet"])

    assert len(figure.axes) == 1
    assert "reader − reader, n = 1" in to_svg(figure)
    assert "model − reader, n = 1" in to_svg(figure)


def test_limits_with_their_intervals_are_lines_on_shades():
    bands = {"readers": {"bias": 0.0, "lower": -3.0, "upper": 3.0, "lower_ci95": [-4, -2], "upper_ci95": [2, 4]}}

    figure = bland_altman([pair("A", "B", (10.0, 12.0))], "liver", bands=bands)

    assert heights(figure) == [0, -3, 3, 0]
    assert [(patch.get_y(), patch.get_height()) for patch in figure.axes[0].patches] == [(-4, 2), (2, 2)]


def test_without_limits_in_the_file_the_plain_ones_are_drawn():
    pairs = [pair("unet", "A", (10.0 + gap, 10.0), "model-human") for gap in (1.0, 3.0)]

    low, high = 2 - 1.96 * np.sqrt(2), 2 + 1.96 * np.sqrt(2)
    assert heights(bland_altman(pairs, "liver", models=["unet"])) == pytest.approx([0, low, high, 2])


def test_several_models_are_named_and_coloured_apart():
    pairs = [pair(model, "A", (15.0, 10.0), "model-human") for model in ("unet", "_unetr")]

    figure = bland_altman(pairs, "liver", models=["unet", "_unetr"])

    assert len({line.get_color() for line in figure.axes[0].lines if line.get_linestyle() == "None"}) == 2
    assert "_unetr − reader" in to_svg(figure)


def test_no_volume_at_all_is_an_empty_figure():
    assert not clouds(bland_altman([], "liver", models=["unet"]))


def test_bands_are_found_in_the_agreement_and_missing_ones_left_out():
    readers, model = {"lower": -1.0}, {"lower": -2.0}
    entry = {
        "volume": {"bland_altman": {"model": None, "readers": readers}},
        "models": {"a": {"volume": {"bland_altman": {"model": model}}}, "b": {"volume": None}},
    }

    assert volume_bands({"labels": {"liver": entry}}, "liver") == {"readers": readers, "a": model}
