"""The invariance page, from a result written by hand."""

import re

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.imaging.geometry import Geometry
from medseg.report.canvas import to_svg
from medseg.report.invariance import curves_figure, invariance_page
from medseg.report.invariance_figures import Curve, dose_panel
from medseg.report.invariance_pictures import WorstCase, slice_overlay
from medseg.report.invariance_tables import break_table, structure_table, versus_table
from medseg.report.invariance_wording import break_phrase, headline, methods

ALL, TRUTH, OWN, ALONE = "all structures", "truth", "untransformed prediction", "resampling alone"
FACTS = {
    "rotation_z": {"title": "Rotation about foot-head", "unit": "degrees", "identity": 0.0, "logarithmic": False,
                   "meaning": "turned", "doses": [0.0, 15.0, 30.0]},
    "flip_x": {"title": "Flip left to right", "unit": "0 or 1", "identity": 0.0, "logarithmic": False,
               "meaning": "mirrored", "doses": [0.0, 1.0]},
    "scale": {"title": "Scale", "unit": "", "identity": 1.0, "logarithmic": True, "meaning": "enlarged",
              "doses": [0.5, 1.0, 2.0]},
}  # fmt: skip


def curve(doses, fall):
    return [{"dose": dose, "mean": 0.9 - fall * place, "ci95": [0.85 - fall * place, 0.95 - fall * place],
             "drop": {"mean": fall * place, "ci95": None}, "n": 9, "n_patients": 8}
            for place, dose in enumerate(doses)]  # fmt: skip


def side(at, name="above", to=30.0):
    return {"side": name, "tested_to": to, "at": at, "first_dose": at and to, "n_patients": 8,
            "ci95": None if at is None else [at * 0.9, None], "share_of_draws": 0.9}  # fmt: skip


def model(fall=0.2):
    references = {TRUTH: fall, OWN: fall / 2, ALONE: 0.0}
    sides = {"rotation_z": [side(22.5)], "flip_x": [side(None, to=1.0)],
             "scale": [side(0.8, "below", 0.5), side(None, "above", 2.0)]}  # fmt: skip
    return {
        "curves": {name: {label: {ref: curve(facts["doses"], drop) for ref, drop in references.items()}
                          for label in (ALL, "liver", "kidney")} for name, facts in FACTS.items()},
        "breaks": {name: {label: {TRUTH: found, OWN: found} for label in (ALL, "liver", "kidney")}
                   for name, found in sides.items()},
    }  # fmt: skip


def difference(value):
    return {"ours": 0.8, "theirs": 0.8 - value, "difference": value, "ci95": [value - 0.02, value + 0.02],
            "n_patients": 8}  # fmt: skip


def result(models=("unet",), notes=()):
    versus = {name: {label: {ref: {"doses": [{"dose": dose, **difference(0.1)} for dose in facts["doses"]],
                                   "mean_over_doses": difference(0.1)} for ref in (TRUTH, OWN)}
                     for label in (ALL, "liver", "kidney")} for name, facts in FACTS.items()}  # fmt: skip
    return {
        "schema": "medseg.invariance/1", "models": list(models), "notes": list(notes),
        "config": {"margin": 0.05, "seed": 0, "draws": 10000, "split": "test", "transforms": FACTS},
        "rules": {"dice": "a rule"},
        "design": {"n_cases": 9, "n_patients": 8, "labels": ["liver", "kidney"], "references": [TRUTH, OWN, ALONE],
                   "main_reference": TRUTH, "anonymous": False, "n_predictions": 45},
        "results": {name: model() for name in models},
        "versus": dict.fromkeys(models[1:], versus),
        "provenance": {"versions": {"medseg": "0"}, "input_sha256": {}},
    }  # fmt: skip


def worst(hu=None):
    grid = Geometry((12, 10, 6), np.diag([-2.0, -2.0, 3.0, 1.0]))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[2:6, 2:5, 3:5] = True
    image = None if hu is None else np.full(grid.shape, hu, dtype=np.float32)
    overlay = slice_overlay("c1", "scale 2, Dice 0.10", grid, {TRUTH: mask}, ("unet", mask), image)
    return WorstCase("c1, liver", overlay, overlay)


def test_the_page_asks_for_nothing_and_says_what_it_holds():
    page = invariance_page(result(), [worst()])
    assert "no images (outlines only)" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "<script" not in page


def test_a_page_with_slices_says_so():
    assert "contains patient images" in invariance_page(result(), [worst(40.0)])


def test_names_are_escaped():
    page = invariance_page(result(models=("<b>net",)))
    assert "<b>net" not in page
    assert "&lt;b&gt;net" in page


def test_every_transform_has_a_panel_and_every_id_occurs_once():
    page = invariance_page(result())
    assert page.count("<figure>") == 2 * len(FACTS)  # all structures together, and structure by structure
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_several_models_are_overlaid_and_compared():
    page = invariance_page(result(models=("with", "without")))
    assert "with against without" in page
    assert "own prediction of the unchanged input</h3>" in page


def test_notes_stand_at_the_head():
    assert "no interval over patients" in invariance_page(result(notes=["There is no interval over patients."]))


def test_the_headline_names_what_breaks():
    assert headline(result(), "unet") == (
        "Mean Dice with the truth falls by more than 0.05 within the tested doses of 2 of 3 transforms: rotation about "
        "foot-head, scale."
    )


@pytest.mark.parametrize(("entry", "unit", "text"), [
    (side(22.5), "degrees", "22.5 degrees (95 % CI 20.2 to beyond 30)"),
    (side(None), "degrees", "not within the tested doses (to 30 degrees)"),
    (side(0.8, "below", 0.5), "", "0.8 (95 % CI beyond 0.5 to 0.72)"),
    (side(None, "below", -100.0), "HU", "not within the tested doses (to −100 HU)"),
])  # fmt: skip
def test_a_threshold_is_told_with_its_interval(entry, unit, text):
    assert break_phrase(entry, unit) == text


def test_the_table_of_thresholds_has_a_row_for_each_side():
    table = break_table(result(), "unet")
    assert [row[0] for row in table.rows] == ["Rotation about foot-head", "Flip left to right", "Scale, smaller",
                                              "Scale, larger"]  # fmt: skip
    assert table.rows[1][1] == "does not break"
    assert table.columns[-1] == "n patients"
    assert table.rows[0][-1] == "8"


def test_structures_have_a_column_each():
    table = structure_table(result(), "unet")
    assert table is not None
    assert table.columns == ("transform", "liver", "kidney")
    assert table.rows[0][1:] == ["22.5", "22.5"]


def test_a_comparison_tells_both_means_and_the_signed_difference():
    row = versus_table(result(models=("with", "without")), "without").rows[0]
    assert row[1:4] == ["0.800", "0.700", "+0.100 (+0.080 to +0.120)"]


def test_the_methods_name_the_margin_and_what_was_compared():
    text = " ".join(methods(result()))
    assert "9 CT studies of 8 patients" in text
    assert "15, 30 degrees" in text
    assert "exceeds 0.05" in text


def test_a_panel_draws_the_same_bytes_twice_and_leaves_undefined_points_out():
    points = [*curve([0.0, 15.0], 0.1), {"dose": 30.0, "mean": None, "ci95": None}]
    first, second = (to_svg(dose_panel(FACTS["rotation_z"], [Curve(points, "#d55e00")])) for _ in range(2))
    assert first == second
    assert "NaN" not in first


def test_the_slice_is_the_one_on_which_the_reference_is_largest():
    grid = Geometry((6, 6, 4), np.eye(4))
    reference, prediction = np.zeros((2, *grid.shape), dtype=bool)
    reference[1:3, 1:3, 2], prediction[:, :, 0] = True, True
    overlay = slice_overlay("c1", "", grid, {TRUTH: reference}, ("unet", prediction), None)
    assert overlay.masks[TRUTH].sum() == 4
    assert not overlay.masks["unet"].any()


def test_the_patients_right_stands_on_the_left_and_the_front_on_top():
    grid = Geometry((6, 8, 1), np.eye(4))  # RAS
    mask = np.zeros(grid.shape, dtype=bool)
    mask[5, 7, 0] = True  # right, front
    assert slice_overlay("c1", "", grid, {}, ("unet", mask), None).masks["unet"][0, 0]


def test_a_figure_for_a_paper_has_a_panel_for_each_chosen_transform_and_a_legend():
    figure = curves_figure(result(), ["scale", "rotation_z"], width_mm=120)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Scale", "Rotation about foot-head"]
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == [
        "Dice with the truth", "Dice with its own untransformed prediction",
    ]  # fmt: skip
    assert figure.get_size_inches()[0] == pytest.approx(120 / 25.4)


def test_a_figure_of_several_models_names_them_and_what_dice_is_with():
    figure = curves_figure(result(models=("_with", "without")), label="liver")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_with", "without"]
    assert figure.legends[0].get_title().get_text() == "Dice with the truth"


@pytest.mark.parametrize(("options", "message"), [
    ({"transforms": ["blur"]}, "no transform 'blur' in the result"),
    ({"label": "spleen"}, "no structure 'spleen' in the result; expected all structures, liver, kidney"),
])  # fmt: skip
def test_a_figure_of_what_was_not_tested_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        curves_figure(result(), **options)
