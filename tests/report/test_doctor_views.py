"""Thumbnails: true proportions, one colour for each reader, names in their titles."""

from __future__ import annotations

import re

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.report.doctor_cuts import Drawn
from medseg.report.doctor_views import SIDE, case_views
from medseg.report.palette import strokes

GRID = Geometry((40, 20, 10), np.diag([1.0, 1.0, 5.0, 1.0]))
LABELS = LabelSet({"background": 0, "a<b": 1})


@pytest.fixture
def views() -> tuple[str, ...]:
    """Reader B and the truth of a data set of A and B."""
    hu = np.full(GRID.shape, 40, np.float32)
    drawn = {}
    for name, width in (("B", 20), ("truth", 22)):
        labels = np.zeros(GRID.shape, np.uint8)
        labels[8 : 8 + width, 4:16, 2:8] = 1
        reading = LabelMap(labels, GRID, LABELS)
        drawn[name] = Drawn(reading, reading.boxes())
    return case_views(Volume(hu, GRID), drawn, ["A", "B"])


def sizes(svg: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])


def test_proportions_are_those_of_the_patient_in_one_scale(views: tuple[str, ...]) -> None:
    scale = SIDE / 50  # the longest side is 10 slices of 5 mm

    assert [sizes(svg) for svg in views] == [
        (40 * scale, 20 * scale),
        (40 * scale, 50 * scale),
        (20 * scale, 50 * scale),
    ]


def test_a_reader_keeps_the_colour_of_the_data_set_and_the_truth_is_dotted(views: tuple[str, ...]) -> None:
    strokes_drawn = re.findall(
        r'<g class="outlines"[^>]* stroke="([^"]+)"[^>]*?( stroke-dasharray="[^"]+")?[^>]*>', views[0]
    )

    assert [colour for colour, _ in strokes_drawn] == [strokes(["A", "B"])["B"].colour, "#fff"]
    assert re.search(r'stroke="#fff"[^>]*stroke-dasharray', views[0])


def test_lines_lie_where_the_labels_are(views: tuple[str, ...]) -> None:
    x, y = map(int, re.findall(r'<path d="M(-?\d+) (-?\d+)', views[0])[0])  # in half pixels from the page's top left

    # X 8 to 27 of 40 seen from the feet: columns 12 to 31; Y 4 to 15 of 20: rows 4 to 15
    assert 2 * 12 <= x <= 2 * 32 and 2 * 4 <= y <= 2 * 16


def test_names_are_escaped_and_letters_tell_the_sides(views: tuple[str, ...]) -> None:
    assert "<title>B: a&lt;b</title>" in views[0]
    assert [re.findall(r">([A-Z])</text>", svg) for svg in views] == [["R", "A"], ["R", "S"], ["A", "S"]]


def test_a_case_without_reading_is_shown_without_lines() -> None:
    views = case_views(Volume(np.full(GRID.shape, 40, np.float32), GRID), {}, ["A"])

    assert len(views) == 3 and all("outlines" not in svg and "data:image/png" in svg for svg in views)
