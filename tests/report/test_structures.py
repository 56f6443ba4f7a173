from __future__ import annotations

import base64
import gzip
import json
import re
import struct

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.report.structures import label_scene, structures_page
from medseg.report.structures_picture import structures_picture
from medseg.shapes import FloatArray, IntArray

LABELS = LabelSet({"background": 0, "liver": 3, "<b>cyst</b>": 200})
COLOURS = {"liver": "#cc0000", "<b>cyst</b>": "#00cc00"}
SHAPE = (60, 50, 40)
LPS = np.diag([-1.0, -1.0, 2.0, 1.0])


def labels_of(shape: tuple[int, int, int] = SHAPE) -> IntArray:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[30:40, 20:30, 10:15] = 3
    labels[33, 22, 12] = 200
    return labels


def prediction(labels: IntArray | None = None, affine: FloatArray = LPS) -> Prediction:
    labels = labels_of() if labels is None else labels
    x, y, z = labels.shape
    return Prediction(labels, Geometry((x, y, z), affine), LABELS)


def bare(array: IntArray, geometry: Geometry) -> bytes:
    return str(array.dtype).encode() + b"|" + array.tobytes()


def facts(page: str) -> dict[str, object]:
    found = re.search(r'id="facts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_crop_is_around_the_structures_in_their_own_voxels() -> None:
    found = label_scene(prediction())
    assert found.steps == (1, 1, 1)
    assert found.first == (0, 0, 0)  # 20 mm on every side reach the edge along X, Y; 10 slices of 2 mm along Z
    assert found.geometry.shape == (50, 50, 25)
    assert found.whole == SHAPE


def test_volumes_are_those_of_the_whole_label_map() -> None:
    large = labels_of((220, 200, 160))
    large[:200, :190, :150] = 3
    found = label_scene(prediction(large))
    assert max(found.steps) > 1
    assert found.volumes_ml == {"liver": pytest.approx(200 * 190 * 150 * 2 / 1000), "<b>cyst</b>": 0.0}


def test_axes_run_to_the_right_front_and_top() -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[:20, 40:, 30:] = 3  # of an LPS grid: right, back, top
    marked = label_scene(prediction(labels)).masks["liver"]
    x, y, z = (np.flatnonzero(marked.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    assert (x[-1], y[0], z[-1]) == (marked.shape[0] - 1, 0, marked.shape[2] - 1)


def test_a_thinned_voxel_is_told_by_its_place_in_the_whole() -> None:
    labels = np.zeros((400, 400, 60), dtype=np.uint8)
    labels[100:300, 100:300, 10:50] = 3
    found = label_scene(prediction(labels, np.eye(4)))
    step = found.steps[0]
    marked = np.flatnonzero(found.masks["liver"].any(axis=(1, 2)))
    assert abs(found.first[0] + marked[0] * step - 100) < step
    assert abs(found.first[0] + marked[-1] * step - 299) < step


def test_an_empty_label_map_is_shown_whole_and_said() -> None:
    page = structures_page("c001", prediction(np.zeros(SHAPE, dtype=np.uint8)), bare, None, COLOURS)
    assert "No voxel of any structure" in page
    assert facts(page)["shape"] == list(SHAPE)


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match="image and labels differ"):
        label_scene(prediction(), np.zeros((3, 3, 3), dtype=np.float32))


def test_the_page_holds_the_structures_as_bits_and_their_limits() -> None:
    page = structures_page("c001", prediction(), bare, np.zeros(SHAPE, dtype=np.float32), COLOURS)
    packed = re.search(r'id="codes-0">([^<]*)<', page)
    assert packed is not None
    kind, values = gzip.decompress(base64.b64decode(packed[1])).split(b"|", 1)
    assert kind == b"uint16"
    assert np.unique(np.frombuffer(values, np.uint16)).tolist() == [0, 1, 2]
    liver, cyst = facts(page)["names"]  # type: ignore[misc]
    assert (liver["ml"], liver["role"], liver["colour"]) == (0.998, "structure", "#cc0000")
    assert cyst["box"] == [[26, 27], [27, 28], [12, 13]]


def test_the_page_is_of_structures_and_not_of_readers_and_hostile_names_are_text() -> None:
    page = structures_page("c001", prediction(), bare, None, COLOURS)
    assert "no images (outlines only)" in page
    assert "<fieldset hidden><legend>Share" in page
    assert "<b>cyst" not in page.split("<script>")[0]
    addresses = set(re.findall(r"https?://[^\s\"'<>]*", page.split("<script>")[0]))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_the_picture_is_a_png_and_the_same_each_time() -> None:
    hu = np.zeros(SHAPE, dtype=np.float32)
    pictures = {structures_picture("c_001 $x$", prediction(), hu, COLOURS) for _ in range(2)}
    (picture,) = pictures
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert width == 1320
    assert 300 < height < 1200


@pytest.mark.parametrize("labels", [np.zeros(SHAPE, dtype=np.uint8), labels_of()], ids=["empty", "drawn"])
def test_the_picture_needs_no_image(labels: IntArray) -> None:
    assert structures_picture("c001", prediction(labels), None, COLOURS)[:4] == b"\x89PNG"
