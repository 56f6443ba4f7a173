from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest

from medseg.report.figures import bland_altman, forest, matrix, pairwise_means, scatter, to_svg, training_curves


def words(figure):
    return re.sub(r"\s+", " ", " ".join(ElementTree.fromstring(to_svg(figure)).itertext()))


def pair(a, b, dice, case="c1", kind="human-human", volumes=(10.0, 12.0)):
    row = {"case": case, "label": "liver", "a": a, "b": b, "kind": kind, "dice": dice, "hd95": None}
    return row | {"volume_a_ml": volumes[0], "volume_b_ml": volumes[1]}


@pytest.fixture
def every_figure(make_agreement, make_pairs, make_cases):
    log = [{"step": 10, "loss": 1.2}, {"step": 10, "validation_dice": {"liver": 0.5, "spleen": None}}]
    return lambda: {
        "forest": forest(make_agreement(), "dice"),
        "matrix": matrix(make_pairs(), "liver", "dice"),
        "scatter": scatter(make_cases(), "liver", "dice", margin=0.05),
        "volume": bland_altman(make_pairs(), "liver", models=["unet"]),
        "curves": training_curves(log),
    }


def test_every_figure_is_well_formed_and_the_same_twice(every_figure):
    first = {name: to_svg(figure, name) for name, figure in every_figure().items()}
    second = {name: to_svg(figure, name) for name, figure in every_figure().items()}

    assert first == second
    for svg in first.values():
        ElementTree.fromstring(svg)


def test_no_figure_carries_a_date_a_creator_or_an_address(every_figure):
    for figure in every_figure().values():
        svg = to_svg(figure).replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
        assert "http" not in svg
        assert "metadata" not in svg
        assert "DOCTYPE" not in svg


def test_ids_of_two_figures_do_not_meet_and_every_reference_has_its_target(every_figure):
    svgs = [to_svg(figure, name) for name, figure in every_figure().items()]
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in svgs]

    together = [one for found in ids for one in found]
    assert len(together) == len(set(together))
    for svg, own in zip(svgs, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {(i, "") for i in own} | {
            ("", i) for i in own
        }


def test_drawing_leaves_the_settings_of_matplotlib_alone(every_figure):
    before = dict(matplotlib.rcParams)

    for figure in every_figure().values():
        to_svg(figure)

    assert dict(matplotlib.rcParams) == before


def test_lines_take_the_colour_of_the_page(every_figure):
    assert all("currentColor" in to_svg(figure) for figure in every_figure().values())


def test_the_forest_draws_mean_interval_and_minus_the_margin(make_agreement):
    axes = forest(make_agreement(labels=("liver",)), "dice").axes[0]

    lines = [np.asarray(line.get_xdata(), dtype=float).tolist() for line in axes.lines]
    assert lines == [[0, 0], [-0.05, -0.05], [pytest.approx(-0.002), pytest.approx(0.021)], [0.01]]


def test_the_forest_names_the_models_only_when_there_are_several(make_agreement):
    one = words(forest(make_agreement(), "dice"))
    two = words(forest(make_agreement(models=("unet", "unetr")), "dice"))

    assert "unet" not in one
    assert "liver · unetr" in two


def test_the_forest_says_what_is_not_defined(make_agreement):
    agreement = make_agreement(labels=("liver",))
    agreement["labels"]["liver"]["models"]["unet"]["difference"]["dice"] |= {"mean": None, "ci95": None}

    assert "not defined" in words(forest(agreement, "dice"))


def test_the_forest_without_an_interval_still_shows_the_mean(make_agreement):
    agreement = make_agreement(labels=("liver",))
    agreement["labels"]["liver"]["models"]["unet"]["difference"]["dice"] |= {"ci95": None}

    assert "+0.010 (no interval)" in words(forest(agreement, "dice"))


def test_pairwise_means_average_over_cases_and_stay_symmetric():
    pairs = [pair("A", "B", 0.8), pair("A", "B", 0.6, "c2"), pair("unet", "A", 0.9, kind="model-human")]

    names, means = pairwise_means(pairs, "liver", "dice")

    assert names == ["A", "B", "unet"]
    np.testing.assert_allclose(means, [[np.nan, 0.7, 0.9], [0.7, np.nan, np.nan], [0.9, np.nan, np.nan]])


def test_a_pair_that_is_undefined_in_one_case_is_averaged_over_the_others():
    _, means = pairwise_means([pair("A", "B", None), pair("A", "B", 0.6, "c2")], "liver", "dice")

    assert means[0, 1] == 0.6


def test_the_matrix_writes_each_mean_twice_and_nothing_where_there_is_none():
    text = words(matrix([pair("A", "B", 0.8765), pair("A", "C", None)], "liver", "dice"))

    assert text.count("0.876") + text.count("0.877") == 2
    assert "nan" not in text.lower()


def test_the_matrix_of_a_metric_that_is_nowhere_defined_is_empty():
    assert not matrix([pair("A", "B", 0.8)], "liver", "hd95").axes[0].texts


def test_the_scatter_counts_the_cases_it_cannot_show():
    row = {"label": "liver", "metric": "dice", "human_human": 0.9, "model_human": 0.8}

    figure = scatter([row, row | {"model_human": None}], "liver", "dice")

    assert figure.axes[0].get_title() == "liver, n = 1 cases (1 not defined)"
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0.9, 0.8]]


def test_a_matrix_without_room_for_numbers_has_a_scale_of_colours():
    pairs = [pair(f"r{a}", f"r{b}", 0.8) for a in range(9) for b in range(a)]

    narrow, wide = (matrix(pairs, "liver", "dice", width_mm=width) for width in (85.0, None))

    assert not narrow.axes[0].texts
    assert narrow.axes[1].get_ylabel() == "Dice"
    assert len(wide.axes[0].texts) == 72


def test_an_empty_scatter_is_drawn():
    assert "model nearer" in words(scatter([], "liver", "dice"))


def test_the_side_where_the_model_is_nearer_changes_for_distances():
    corners = [scatter([], "liver", metric).axes[0].texts[0].get_position() for metric in ("dice", "hd95")]

    assert corners[0][0] < corners[0][1]  # above the line: a higher score
    assert corners[1][0] > corners[1][1]  # below the line: a shorter distance


def test_training_curves_hold_losses_and_one_line_per_class():
    log = [
        {"step": 100, "loss": 0.9, "seconds": 12},
        {"step": 100, "validation_dice": {"liver": 0.4, "spleen": 0.1}, "mean_dice": 0.25},
        {"step": 200, "loss": float("nan")},
        {"step": 200, "validation_dice": {"liver": 0.6, "spleen": None}},
    ]

    upper, lower = training_curves(log).axes

    assert upper.lines[0].get_xydata().tolist() == [[100, 0.9]]
    assert [line.get_xydata().tolist() for line in lower.lines] == [[[100, 0.4], [200, 0.6]], [[100, 0.1]]]


def test_training_curves_of_an_empty_log_are_empty_axes():
    assert not any(axes.lines for axes in training_curves([]).axes)


@pytest.mark.parametrize("name", ["<script>x</script>", "$\\frac{", "_hidden", "a&b", "Ä·肝"])
def test_hostile_names_are_drawn_as_they_are(name, make_cases, make_pairs):
    log = [{"step": 1, "validation_dice": {name: 0.5}}]
    figures = [
        matrix(make_pairs(labels=(name,), raters=(name, "B")), name, "dice"),
        scatter(make_cases(labels=(name,), models=(name, "other")), name, "dice"),
        training_curves(log),
    ]

    for figure in figures:
        assert name in words(figure)
