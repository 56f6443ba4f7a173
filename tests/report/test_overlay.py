from __future__ import annotations

import base64
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.report.overlay import MODEL_WIDTH, Overlay, outline_path, overlay_svg
from medseg.report.palette import RATER_COLOURS, strokes
from medseg.report.png import MOST_PIXELS

SVG = "{http://www.w3.org/2000/svg}"


def drawn(overlay, models=("unet",)):
    return ElementTree.fromstring(overlay_svg(overlay, models))


def outlines(svg):
    return [path for path in svg.iter(f"{SVG}path") if path.get("vector-effect")]


def pixels(svg):
    """Grey values of the embedded PNG, whose lines carry differences (filter 1)."""
    href = next(svg.iter(f"{SVG}image")).get("href")
    data = base64.b64decode(href.removeprefix("data:image/png;base64,"))
    width, height = struct.unpack(">II", data[16:24])
    body = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, width + 1)
    assert set(lines[:, 0]) == {1}
    return np.cumsum(lines[:, 1:], axis=1, dtype=np.uint8)


def test_the_outline_of_a_square_runs_half_a_pixel_outside_its_pixel_centres():
    mask = np.zeros((6, 6), bool)
    mask[2:4, 2:4] = True

    numbers = [int(n) for n in re.findall(r"-?\d+", outline_path(mask))]
    corners = np.cumsum(np.reshape(numbers, (-1, 2)), axis=0)

    # pixel centres lie at 5 and 7 half pixels, so the line lies between 4 and 8
    assert corners.min(axis=0).tolist() == [4, 4]
    assert corners.max(axis=0).tolist() == [8, 8]


def test_a_mask_at_the_edge_of_the_slice_has_a_closed_outline():
    assert outline_path(np.ones((3, 3), bool)).count("z") == 1


def test_a_hole_is_an_outline_of_its_own():
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False

    assert outline_path(mask).count("M") == 2


def test_an_empty_mask_has_no_outline_and_the_legend_says_so(make_overlay):
    overlay = make_overlay()
    overlay = Overlay(overlay.case, overlay.title, {**overlay.masks, "B": np.zeros((120, 120), bool)}, (1, 1), None)

    svg = drawn(overlay)

    assert len(outlines(svg)) == 3
    assert "B (none here)" in [text.text for text in svg.iter(f"{SVG}text")]


def test_the_model_is_thickest_and_lies_under_the_readers(make_overlay):
    widths = [float(path.get("stroke-width")) for path in outlines(drawn(make_overlay()))]

    assert widths == [MODEL_WIDTH, 3.3, 2.4, 1.5]  # drawn in this order, so that equal outlines show as bands


def test_everyone_has_another_colour(make_overlay):
    colours = [path.get("stroke") for path in outlines(drawn(make_overlay()))]

    assert len(set(colours)) == 4
    assert set(colours[1:]) <= set(RATER_COLOURS)


def test_twenty_readers_and_two_models_all_differ_by_colour_or_dash():
    pens = strokes([f"r{i}" for i in range(20)], ["unet", "unetr"])

    assert len({(pen.colour, pen.dash) for name, pen in pens.items() if name.startswith("r")}) == 20
    assert pens["unet"] != pens["unetr"]


def test_the_drawing_has_the_shape_of_the_slice_in_mm():
    mask = np.ones((10, 40), bool)

    svg = drawn(Overlay("c", "t", {"A": mask}, (2.0, 1.0), None))

    ground = next(svg.iter(f"{SVG}rect"))
    assert float(ground.get("width")) / float(ground.get("height")) == pytest.approx(40 * 1.0 / (10 * 2.0), rel=1e-3)


def test_the_scale_bar_has_the_length_it_names():
    mask = np.ones((100, 100), bool)

    svg = drawn(Overlay("c", "t", {"A": mask}, (1.0, 1.0), None))

    bar = next(path for path in svg.iter(f"{SVG}path") if "v4h" in path.get("d"))
    shown_mm = float(re.search(r"([\d.]+) mm", "".join(svg.itertext()))[1])
    drawn_units = float(re.search(r"v4h([\d.]+)", bar.get("d"))[1])
    assert drawn_units / 360 * 100 == pytest.approx(shown_mm, rel=1e-3)


def test_the_window_maps_minus_160_to_black_and_240_to_white():
    hu = np.array([[-1000.0, -160.0, 40.0, 240.0, 3000.0]])

    grey = pixels(drawn(Overlay("c", "t", {"A": np.zeros((1, 5), bool)}, (1, 1), hu)))

    assert grey.tolist() == [[0, 0, 128, 255, 255]]


def test_a_small_structure_is_shown_with_a_border_of_20_mm():
    mask = np.zeros((200, 200), bool)
    mask[100:110, 100:110] = True

    grey = pixels(drawn(Overlay("c", "t", {"A": mask}, (1, 1), np.zeros((200, 200)))))

    assert grey.shape == (50, 50)


def test_a_large_slice_is_averaged_down():
    mask = np.ones((512, 500), bool)

    grey = pixels(drawn(Overlay("c", "t", {"A": mask}, (0.8, 0.8), np.full((512, 500), 40.0))))

    assert max(grey.shape) <= MOST_PIXELS
    assert np.unique(grey).tolist() == [128]


def test_without_an_image_there_is_no_pixel_of_the_patient(make_overlay):
    svg = overlay_svg(make_overlay(image=False), ["unet"])

    assert "<image" not in svg
    assert 'fill="#fff"' in svg


def test_hostile_names_stay_text():
    mask = np.ones((4, 4), bool)

    svg = drawn(Overlay("<script>", '"&', {"<b>A</b>": mask}, (1, 1), None))

    assert not list(svg.iter(f"{SVG}script"))
    assert "<b>A</b>" in [text.text for text in svg.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("masks", "pixel_mm", "hu"),
    [
        ({}, (1, 1), None),
        ({"A": np.ones((2, 2), bool), "B": np.ones((2, 3), bool)}, (1, 1), None),
        ({"A": np.ones((2, 2), bool)}, (1, 1), np.zeros((3, 3))),
        ({"A": np.ones((2, 2, 2), bool)}, (1, 1), None),
        ({"A": np.ones((2, 2), bool)}, (0, 1), None),
    ],
)
def test_an_overlay_that_is_no_single_slice_is_refused(masks, pixel_mm, hu):
    with pytest.raises(GeometryError, match="c001"):
        Overlay("c001", "", masks, pixel_mm, hu)
