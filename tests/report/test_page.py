from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medseg.report.overlay import Overlay
from medseg.report.page import MOST_FIGURE_LABELS, MOST_OVERLAYS, Table, agreement_page
from medseg.report.tables import agreement_table

VOID = {"meta", "link", "img", "br", "hr", "input"}
LOADS = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


class Page(HTMLParser):
    """What a page consists of; fails on a tag that is closed wrongly."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in LOADS]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def html(make_agreement, make_pairs, make_cases, make_overlay):
    overlays = [make_overlay("c001"), make_overlay("c002", 200), make_overlay("c003", image=False)]
    return agreement_page(make_agreement(), make_pairs(), make_cases(), overlays)


def test_the_page_is_well_formed_and_asks_for_nothing(html):
    page = Page(html)

    assert "script" not in page.tags
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in page.loads)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_id_is_used_once(html):
    ids = Page(html).ids

    assert len(ids) == len(set(ids))


def test_the_verdict_stands_before_every_number(html):
    text = Page(html).text

    assert text.index("unet agreed with a reader as closely") < text.index("structures")
    assert "no miss in 22 findings still allows 13 %" in text


def test_every_part_of_the_report_is_there(html):
    text = Page(html).text

    for part in (
        "Who read what", "Presence and absence", "Leave one reader out", "Williams index", "Chance-corrected agreement",
        "lowest D of Dice", "How this was computed", "10000 bootstrap draws of the patient, seed 0", "Input (SHA-256)",
        "0" * 64, "max of directed percentiles", "Tolerance: 2 mm",
    ):  # fmt: skip
        assert part in text


def test_numbers_stand_with_interval_n_margin_and_share(html):
    text = Page(html).text

    assert "unet with readers 0.920 (0.910 to 0.930) +0.010 (−0.002 to +0.021) 0.050 (56 %) equivalent" in text


def test_a_missing_reading_is_counted(html):
    assert "A reader 22 2" in Page(html).text


def test_the_same_input_gives_the_same_page(html, make_agreement, make_pairs, make_cases, make_overlay):
    overlays = [make_overlay("c001"), make_overlay("c002", 200), make_overlay("c003", image=False)]

    assert agreement_page(make_agreement(), make_pairs(), make_cases(), overlays) == html


@pytest.mark.parametrize(
    ("image", "note"), [(True, "contains patient images"), (False, "no images (outlines only)"), (None, "no images")]
)
def test_the_page_says_whether_it_shows_a_patient(image, note, make_agreement, make_overlay):
    overlays = [] if image is None else [make_overlay(image=image)]

    html = agreement_page(make_agreement(), [], [], overlays)

    assert note in Page(html).text
    assert ("<image" in html) == bool(image)


HOSTILE = '<script>alert("x")</script><img src=x onerror=y>&amp;'


def test_hostile_names_are_shown_and_never_obeyed(make_agreement, make_pairs, make_cases):
    agreement = make_agreement(labels=(HOSTILE,), models=(HOSTILE + "m",), raters=(HOSTILE + "a", "B"))
    agreement["warnings"] = [HOSTILE]
    agreement["verdict"][HOSTILE + "m"]["sentence"] = HOSTILE
    pairs = make_pairs(labels=(HOSTILE,), models=(HOSTILE + "m",), raters=(HOSTILE + "a", "B"))
    overlay = Overlay(HOSTILE, HOSTILE, {HOSTILE: np.ones((5, 5), bool)}, (1, 1), None)

    html = agreement_page(
        agreement, pairs, make_cases(labels=(HOSTILE,)), [overlay], [Table(HOSTILE, (HOSTILE,), [[HOSTILE]], HOSTILE)]
    )

    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert HOSTILE in page.text


def test_undefined_values_are_named_and_nan_is_never_printed(make_agreement, make_pairs, make_cases):
    agreement = make_agreement(labels=("liver",))
    liver = agreement["labels"]["liver"]
    liver["human_human"]["dice"] = {"mean": None, "ci95": None, "median": None, "p5": None, "n": 0}
    liver["models"]["unet"]["model_human"]["dice"] |= {"p5": float("nan")}
    liver["models"]["unet"]["difference"]["dice"] |= {"mean": None, "ci95": None, "class": "descriptive"}
    liver["kappa"]["fleiss"] = float("inf")

    text = Page(agreement_page(agreement, make_pairs(("liver",)), make_cases(("liver",)))).text

    assert "not defined (n = 0)" in text
    assert not re.search(r"\b(nan|inf|None)\b", text, re.IGNORECASE)


def test_a_mean_without_interval_says_so(make_agreement):
    agreement = make_agreement(labels=("liver",))
    agreement["labels"]["liver"]["models"]["unet"]["difference"]["dice"]["ci95"] = None

    assert "+0.010 (no interval)" in Page(agreement_page(agreement, [], [])).text


def test_several_models_each_have_a_verdict_and_rows(make_agreement, make_pairs, make_cases):
    models = ("unet", "unetr")

    text = Page(
        agreement_page(make_agreement(models=models), make_pairs(models=models), make_cases(models=models))
    ).text

    for model in models:
        assert f"{model} agreed with a reader" in text
        assert f"{model} with readers" in text


def test_without_a_model_the_page_is_about_the_readers(make_agreement, make_pairs):
    text = Page(agreement_page(make_agreement(models=()), make_pairs(models=()), [])).text

    assert "how the readers agree with each other" in text
    assert "readers with readers 0.910 (0.900 to 0.920)" in text
    assert "difference D (95 % CI)" not in text
    assert "favours the model" not in text


def test_a_single_reader_is_reported(make_agreement, make_pairs, make_cases):
    agreement = make_agreement(labels=("liver",), raters=("A",))
    agreement["labels"]["liver"]["human_human"] = {}

    text = Page(agreement_page(agreement, make_pairs(("liver",), raters=("A",)), make_cases(("liver",)))).text

    assert "readers with readers not defined (n = 0)" in text


def test_many_structures_are_all_in_the_tables_and_some_in_the_figures(make_agreement, make_pairs, make_cases):
    labels = tuple(f"structure_{i:02d}" for i in range(MOST_FIGURE_LABELS + 3))
    agreement = make_agreement(labels)
    agreement["labels"][labels[-1]]["models"]["unet"]["difference"]["dice"]["mean"] = -0.3

    html = agreement_page(agreement, make_pairs(labels), make_cases(labels))
    text = Page(html).text

    assert f"{MOST_FIGURE_LABELS} of {len(labels)} structures" in text
    assert all(f"{label} unet with readers" in text for label in labels)
    assert f"<h3>{labels[-1]}</h3>" in html  # the worst is drawn although it stands last
    assert len(html.encode()) < 3_000_000


def test_a_page_with_many_full_size_slices_stays_below_3_mb(make_agreement):
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[:512, :512]
    mask = (rows - 256) ** 2 + (columns - 256) ** 2 < 220**2
    masks = {name: mask & (chance.random(mask.shape) > 0.001) for name in ("A", "B", "unet")}  # speckled: long outlines
    overlay = Overlay("c001", "worst", masks, (0.8, 0.8), 40 + chance.normal(0, 12, mask.shape))

    html = agreement_page(make_agreement(), [], [], [overlay] * 9)

    assert len(html.encode()) < 3_000_000


def test_slices_beyond_the_limit_are_left_out_and_counted(make_agreement, make_overlay):
    overlays = [make_overlay(f"c{i:03d}", 30, image=False) for i in range(MOST_OVERLAYS + 2)]

    html = agreement_page(make_agreement(), [], [], overlays)

    assert html.count('class="overlay"') == MOST_OVERLAYS
    assert f"{MOST_OVERLAYS} of {MOST_OVERLAYS + 2} slices are shown" in Page(html).text


def test_further_tables_are_printed_as_they_are(make_agreement):
    table = Table("Window baseline", ("organ", "Dice"), [["liver", 0.61234], ["spleen", None]], "Searched on training.")

    text = Page(agreement_page(make_agreement(), [], [], tables=[table])).text

    assert "Window baseline organ Dice liver 0.612 spleen not defined Searched on training." in text


def test_the_judged_metric_comes_first(make_agreement):
    agreement = make_agreement()
    agreement["config"]["metric"] = "nsd"

    text = Page(agreement_page(agreement, [], [])).text

    assert "judged by NSD" in text
    assert text.index("Tolerance: 2 mm; surface") < text.index("HD95 (mm) label")


def test_tolerances_that_differ_are_listed(make_agreement):
    agreement = make_agreement()
    agreement["config"]["tolerance_mm"] = {"liver": 2.0, "spleen": 1.5}

    assert "Tolerance: liver 2; spleen 1.500 mm" in Page(agreement_page(agreement, [], [])).text


def test_a_reason_that_several_labels_share_is_told_once(make_agreement):
    agreement = make_agreement()
    agreement["verdict"]["unet"]["reasons"] = ["the worst decides", "liver: too few", "spleen: too few", "liver: wide"]

    html = agreement_page(agreement, [], [])

    assert "<li>the worst decides</li><li>liver, spleen: too few</li><li>liver: wide</li>" in html


def test_a_warning_that_the_verdict_gives_is_not_told_twice(make_agreement):
    agreement = make_agreement()
    agreement["warnings"] = ["A and B are equal", *agreement["verdict"]["unet"]["reasons"]]

    text = Page(agreement_page(agreement, [], [])).text

    assert "A and B are equal" in text
    assert text.count("no miss in 22 findings") == 1


def test_anonymous_readers_are_not_told_apart(make_agreement, make_pairs, make_cases):
    agreement = make_agreement(labels=("liver",))
    agreement["design"]["anonymous"] = True

    text = Page(agreement_page(agreement, make_pairs(("liver",)), make_cases(("liver",)))).text

    assert "Leave one reader out" not in text
    assert "liver: mean Dice" not in text
    assert "nothing is shown per reader" in text


def test_columns_that_nobody_fills_are_left_out(make_agreement):
    agreement = make_agreement()

    assert "margin (share)" in agreement_table(agreement, "dice").columns
    assert "margin (share)" not in agreement_table(agreement, "nsd").columns
    assert "n for 80 % power" not in agreement_table(agreement, "dice").columns


def test_the_number_of_cases_that_would_decide_is_shown(make_agreement):
    agreement = make_agreement(labels=("liver",))
    agreement["labels"]["liver"]["models"]["unet"]["difference"]["dice"] |= {"class": "inconclusive", "n_for_80pct": 87}

    table = agreement_table(agreement, "dice")

    assert dict(zip(table.columns, table.rows[1], strict=True))["n for 80 % power"] == "87"


def test_every_part_that_the_head_of_the_page_names_is_there(html):
    targets = [target.removeprefix("#") for target in Page(html).loads if re.fullmatch("#[a-z]+", target)]

    assert {"difference", "agreement", "slices", "details", "methods"} <= set(targets)
    assert set(targets) <= set(Page(html).ids)


def test_a_page_without_slices_and_model_names_no_such_part(make_agreement, make_pairs):
    html = agreement_page(make_agreement(models=()), make_pairs(models=()), [])

    assert 'href="#slices"' not in html
    assert 'href="#difference"' not in html


def test_metrics_beside_the_judged_one_are_folded_on_screen_and_open_in_print(html):
    folded = re.findall(r"<details><summary>(.*?)</summary>", html)

    assert folded[:2] == ["NSD", "HD95 (mm)"]
    assert "details::details-content { content-visibility: visible" in html


def test_a_label_that_the_row_above_has_is_written_again_in_pale(html):
    assert re.search(
        r'<tr><th scope="row">liver</th>.*?</tr>\s*<tr class="again"><th scope="row">liver</th>', html, re.S
    )
