from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.report.palette import Stroke
from medseg.report.viewer import viewer_page
from medseg.report.viewer_volumes import ViewedCase, scene

SHAPE = (60, 50, 40)


def ball(centre=(30, 25, 20), radius=8.0, shape=SHAPE):
    places = np.indices(shape).reshape(3, -1).T - np.array(centre)
    return (np.linalg.norm(places, axis=1) < radius).reshape(shape)


def viewed(names=("A", "B", "unet"), image=True, affine=None, shape=SHAPE):
    masks = {name: ball((30 + place, 25, 20), shape=shape) for place, name in enumerate(names)}
    hu = np.full(shape, 40.0, dtype=np.float32) if image else None
    return ViewedCase("c001", "worst case", Geometry(shape, np.eye(4) if affine is None else affine), masks, hu)


def bare(array, geometry):
    """Stands for a NIfTI writer: kind and values are enough to be looked at here."""
    return str(array.dtype).encode() + b"|" + array.tobytes()


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.text, self.now = [], {}, "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.now = dict(attrs).get("id", "code") if tag == "script" else None

    def handle_endtag(self, tag):
        self.now = None

    def handle_data(self, data):
        if self.now is None:
            self.text += data
        else:
            self.scripts[self.now] = self.scripts.get(self.now, "") + data


def embedded(page, name):
    return gzip.decompress(base64.b64decode(page.scripts[name])).split(b"|", 1)


def facts(page):
    return json.loads(page.scripts["facts"])


def test_the_page_loads_nothing_and_may_not():
    page = Page(viewer_page(viewed(), bare, ["unet"]))

    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert not [tag for tag, attrs in page.tags if tag in ("link", "iframe", "img", "object") or "src" in attrs]


def test_the_viewer_library_is_inside_with_its_licence():
    code = Page(viewer_page(viewed(), bare)).scripts["code"]

    assert "Redistributions in binary form must reproduce the above copyright" in code
    assert "</script" not in code


def test_the_masks_are_bits_in_the_order_of_the_names():
    page = Page(viewer_page(viewed(), bare, ["unet"]))

    kind, values = embedded(page, "codes-0")
    codes = np.frombuffer(values, dtype=kind.decode())
    assert [name["name"] for name in facts(page)["names"]] == ["A", "B", "unet"]
    assert [int((codes >> bit & 1).sum()) for bit in range(3)] == [ball().sum()] * 3


def test_more_than_sixteen_readers_need_a_second_volume():
    page = Page(viewer_page(viewed(tuple(f"r{i}" for i in range(18))), bare))

    kind, values = embedded(page, "codes-1")
    assert np.frombuffer(values, dtype=kind.decode()).max() == 3
    assert "codes-2" not in page.scripts


def test_the_share_counts_readers_and_not_the_model():
    page = Page(viewer_page(viewed(), bare, ["unet"]))

    kind, values = embedded(page, "share")
    assert set(np.frombuffer(values, dtype=kind.decode()).tolist()) == {0, 50, 100}


def test_grey_values_are_hounsfield_units_in_sixteen_bits():
    kind, values = embedded(Page(viewer_page(viewed(), bare)), "ct")

    assert kind == b"int16"
    assert set(np.frombuffer(values, dtype=np.int16).tolist()) == {40}


@pytest.mark.parametrize(("image", "notice"), [(True, "contains patient images"), (False, "no images (outlines only)")])
def test_the_page_says_whether_it_shows_a_patient(image, notice):
    page = Page(viewer_page(viewed(image=image), bare))

    assert notice in page.text
    assert ("ct" in page.scripts) == image


def test_still_pictures_of_three_planes_stand_in_the_page():
    html = viewer_page(viewed(), bare, ["unet"])

    assert html.count('class="overlay"') == 3
    assert html.count("data:image/png;base64,") >= 3
    assert "needs JavaScript and WebGL 2" in html


def test_a_packed_file_is_not_packed_again():
    packed = gzip.compress(b"uint8|x", mtime=0)

    page = Page(viewer_page(viewed(), lambda array, geometry: packed))
    assert base64.b64decode(page.scripts["share"]) == packed


def test_the_same_case_gives_the_same_page():
    assert viewer_page(viewed(), bare, ["unet"]) == viewer_page(viewed(), bare, ["unet"])


HOSTILE = '</script><script>alert("x")</script><img src=x onerror=y>'


def test_hostile_names_are_shown_and_never_obeyed():
    case = ViewedCase(HOSTILE, HOSTILE, Geometry(SHAPE, np.eye(4)), {HOSTILE: ball(), "B": ball()})

    page = Page(viewer_page(case, bare, ["B"]))

    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert facts(page)["names"][0]["name"] == HOSTILE
    assert HOSTILE in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == 5  # facts, codes, share, library, viewer


def test_a_name_keeps_the_colour_that_the_report_gave_it():
    page = Page(viewer_page(viewed(), bare, ["unet"], {"B": Stroke("#123456", "5 2")}))

    second = facts(page)["names"][1]
    assert (second["colour"], second["dash"]) == ("#123456", [5.0, 2.0])


def test_readers_have_thinner_lines_than_the_model_and_each_its_own():
    widths = [name["width"] for name in facts(Page(viewer_page(viewed(), bare, ["unet"])))["names"]]

    assert widths[2] > widths[0] > widths[1]


def test_lungs_open_in_the_lung_window():
    case = viewed()
    np.asarray(case.hu)[:] = -850

    assert facts(Page(viewer_page(case, bare)))["window"] == "lung"


def test_no_address_or_path_is_written():
    html = viewer_page(viewed(), bare, ["unet"])
    own = html[: html.index("Redistribution and use")] + html[html.rindex("<script>") :]

    assert not re.search(r"https?://(?!www\.w3\.org)", own)


def test_the_crop_keeps_twenty_millimetres_around_the_outlines():
    found = scene(viewed(("A",)), ["A"])

    assert (found.first, found.geometry.shape) == ((3, 0, 0), (55, 50, 40))  # 23..37 less 20, plus 20


def test_planes_start_where_readers_disagree_most():
    masks = {"A": ball(), "B": ball() | ball((30, 25, 32), 3.0)}

    found = scene(ViewedCase("c", "t", Geometry(SHAPE, np.eye(4)), masks), ["A", "B"])
    assert found.first[2] + found.start[2] == 32


def test_axes_run_to_the_right_front_and_top_whatever_the_file_did():
    masks = {"A": ball((10, 25, 20), 4.0)}
    flipped = ViewedCase("c", "t", Geometry(SHAPE, np.diag([-1.0, 1.0, 1.0, 1.0])), masks)

    found = scene(flipped, ["A"])
    marked = np.flatnonzero(found.masks["A"].any(axis=(1, 2))) + found.first[0]
    assert marked.mean() == SHAPE[0] - 1 - 10


def test_a_large_crop_is_halved_along_its_finest_axes_and_says_so():
    shape = (260, 260, 60)
    grid = Geometry(shape, np.diag([0.7, 0.7, 3.0, 1.0]))
    mask = np.zeros(shape, dtype=bool)
    mask[20:-20, 20:-20, 5:-5] = True
    case = ViewedCase("c", "t", grid, {"A": mask}, np.zeros(shape, np.float32))

    found = scene(case, ["A"])

    assert (found.steps, found.geometry.shape) == ((2, 2, 1), (130, 130, 60))
    assert found.geometry.spacing_mm == pytest.approx((1.4, 1.4, 3.0))
    assert found.volumes_ml["A"] == pytest.approx(mask.sum() * grid.voxel_ml)
    assert "half resolution along X, Y" in viewer_page(case, bare)


def test_a_case_that_nobody_marked_is_shown_whole():
    found = scene(ViewedCase("c", "t", Geometry(SHAPE, np.eye(4)), {"A": np.zeros(SHAPE, bool)}), ["A"])

    assert (found.geometry.shape, found.start) == (SHAPE, (30, 25, 20))


@pytest.mark.parametrize("masks", [{}, {"A": np.zeros((2, 2, 2), bool)}])
def test_masks_that_do_not_fit_are_refused(masks):
    with pytest.raises(GeometryError, match="c001"):
        ViewedCase("c001", "t", Geometry(SHAPE, np.eye(4)), masks)
