"""A training's page: what it says, what it shows, and that it needs nothing from outside."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from medseg.report.run_curves import curve_strokes, dice_curves, number_curve
from medseg.report.run_page import TrainingReport, training_page
from medseg.report.run_pictures import Seen, side_by_side
from medseg.report.run_tables import case_table, fold_table, structure_table, time_table


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"step": number, "loss": 1.0 / number, "seconds": 20.0, "learning_rate": 1e-3, "wait_share": 0.25,
            "patches_per_second": 4.0} | more  # fmt: skip


def validation(number: int, **cases: dict[str, float]) -> dict[str, Any]:
    names = {name for dice in cases.values() for name in dice}
    means = {name: float(np.mean([dice[name] for dice in cases.values() if name in dice])) for name in sorted(names)}
    return {"step": number, "validation_dice": means, "mean_dice": float(np.mean(list(means.values()))), "cases": cases}


ROWS = [
    step(5),
    validation(5, c1={"liver": 0.9, "spleen": 0.8}, c2={"liver": 0.7, "spleen": 0.6}),
    step(10),
    validation(10, c1={"liver": 0.8, "spleen": 0.5}, c2={"liver": 0.6}),
]


def seen(structure: str = "spleen", hu: bool = True) -> Seen:
    reference = np.zeros((20, 30), np.int16)
    reference[5:12, 8:20] = 2
    prediction = np.roll(reference, 3, axis=1)
    return Seen("c1", structure, 7, (2.0, 1.0), reference, prediction, 40 * reference if hu else None)


REPORT = TrainingReport(
    name="demo", state="finished", step=10, steps=10, seconds=60.0, rows=ROWS, structures=("liver", "spleen", "lesion"),
    folds=(3, 2), fold=1, batch=2, settings={"raters": "soft"}, provenance={"torch": "2"}, slices=(seen(),),
    labels=("background", "liver", "spleen", "lesion"),
)  # fmt: skip


def test_the_page_says_how_training_ended_and_how_good_it_is():
    page = training_page(REPORT)

    assert "Finished after 10 of 10 steps; best mean validation Dice 0.750 at step 5, last 0.600." in page
    assert "Marked in no validation case: lesion." in page
    assert "25\u00a0% of the time was spent waiting for data" in page


def test_of_the_waiting_of_a_few_seconds_nothing_is_said():
    brief = [{**row, "seconds": 1.0} if "seconds" in row else row for row in ROWS]

    assert "waiting for data;" not in training_page(replace(REPORT, rows=brief))


@pytest.mark.parametrize("steps, marker", [((5,), "o"), ((5, 10), None)])
def test_a_curve_of_one_point_is_a_dot(steps, marker):
    figure = number_curve([step(number) for number in steps], "loss", "loss")

    (line,) = figure.axes[0].lines
    assert line.get_marker() == (marker or "None")


def test_the_page_loads_nothing_runs_nothing_and_forbids_both():
    page = training_page(REPORT)

    assert "default-src 'none'" in page
    assert not re.findall(r"<script|https?://|url\((?!#)", page)


@pytest.mark.parametrize(
    "report, images, expected",
    [
        (REPORT, True, "contains patient images"),
        (REPORT, False, "no images (outlines only)"),
        (replace(REPORT, slices=(seen(hu=False),)), True, "no images (outlines only)"),
        (replace(REPORT, slices=()), True, "no images"),
    ],
)
def test_a_page_with_images_says_so_and_one_without_has_none(report, images, expected):
    page = training_page(report, images=images)

    assert f">{expected}</span>" in page
    assert ("data:image/png" in page) == (expected == "contains patient images")


def test_a_run_before_its_first_step_has_a_page():
    page = training_page(
        replace(REPORT, state="stopped", step=0, seconds=0.0, rows=(), slices=(), folds=(5,), fold="all")
    )

    assert "Stopped after 0 of 10 steps; no validation." in page
    assert "Nothing is in the log yet." in page


def test_names_are_no_markup():
    rows = [validation(1, **{"<i>c": {"<b>liver": 0.5}})]

    assert "<b>" not in training_page(replace(REPORT, rows=rows, slices=(), name="<i>run"))


def test_a_log_of_an_older_version_has_a_page():
    rows = [{"step": 1, "loss": 0.5}, {"step": 1, "validation_dice": {"liver": 0.5}, "mean_dice": 0.5}]

    page = training_page(replace(REPORT, rows=rows))

    assert "not known" in page and "Worst validation cases" not in page


def test_the_table_of_structures_names_the_worst_case_of_each():
    table = structure_table(ROWS, ("liver", "spleen", "lesion"))

    assert table is not None
    assert list(table.rows[0]) == ["liver", pytest.approx(0.8), pytest.approx(0.7), 2, "c2: 0.600"]
    assert list(table.rows[1])[2:] == [0.5, 1, "c1: 0.500"]  # in c2 nobody marked it
    assert list(table.rows[2])[1:4] == ["not marked", "not marked", 0]


def test_the_worst_cases_come_first():
    table = case_table(ROWS)

    assert table is not None
    assert [list(row) for row in table.rows] == [["c2", 0.6, "liver", 0.6], ["c1", 0.65, "spleen", 0.5]]


def test_folds_are_told_by_their_numbers_of_cases():
    assert [list(row) for row in fold_table((3, 2), 1).rows] == [["0", 3, "training"], ["1", 2, "validation"]]


def test_time_per_step_is_the_batch_over_the_speed():
    rows = {row[0]: row[1] for row in time_table(ROWS, 60.0, 2).rows}

    assert rows["time per step, median"] == "0.5 s"  # 2 patches at 4 a second
    assert rows["waiting for data, median share of a step"] == "25\u00a0%"


def test_curves_leave_out_what_is_not_finite():
    rows = [step(1), step(2, loss=float("nan")), step(3, loss=None), step(4)]

    (line,) = number_curve(rows, "loss", "loss").axes[0].lines

    assert np.asarray(line.get_xdata()).tolist() == [1, 4]


def test_of_many_structures_the_worst_are_coloured_and_all_are_drawn():
    names = {f"s{number:02d}": number / 30 for number in range(30)}
    rows = [validation(1, c1=names)]

    assert list(curve_strokes(rows)) == [f"s{number:02d}" for number in range(12)]
    assert len(dice_curves(rows).axes[0].lines) == 31  # and their mean


def test_a_picture_is_as_high_as_the_patient_and_shows_both_outlines():
    picture = side_by_side(seen())

    pixels = imread(io.BytesIO(picture))
    height, width, _ = pixels.shape
    assert (width - 6) / 2 / height == pytest.approx(30 / 40, abs=0.01)  # 30 pixels of 1 mm by 20 of 2 mm
    coloured = np.ptp(pixels, axis=2) > 0
    left, right = coloured[:, : width // 2 - 3], coloured[:, width // 2 + 3 :]
    shift = np.flatnonzero(right.any(0))[0] - np.flatnonzero(left.any(0))[0]
    assert shift == pytest.approx(3 * height / 40, abs=1.5)  # the prediction lies 3 mm further right
