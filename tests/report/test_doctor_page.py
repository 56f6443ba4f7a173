"""The page and the tables of a check."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from medseg.report.doctor import CaseRow, CheckReport, Problem
from medseg.report.doctor_page import GENERATOR, MOST_PICTURED, check_page
from medseg.report.doctor_tables import MOST_ROWS, case_table, render, structure_table, volume_table

ROW = CaseRow(
    "c1", "p1", "site_a", "train", ("A", "B"),
    volumes_ml={"A": {"liver": 1500.4, "lesion": 0.0}, "B": {"liver": 1400.0}},
    components={"A": {"liver": 1, "lesion": 0}, "B": {"liver": 3}},
    shape=(512, 512, 100), spacing_mm=(0.7, 0.7, 2.5), orientation="LPS", field_of_view_mm=(358.4, 358.4, 250.0),
    hu_range=(-1024.0, 3071.0), kernel="B30f", tilt_deg=-12.5, invented=(3, 4),
    filled={"B": {"liver": (7, 8, 9)}},
)  # fmt: skip
LABELS = {"background": 0, "liver": 1, "lesion": 2}
ERROR = Problem("error", "c1", "case c1: <b>bad</b>", "Mend `it`.")
WARNING = Problem("warning", "", "odd", "Look.")
REPORT = CheckReport(LABELS, ("A", "B"), (ROW,), (WARNING, ERROR), "voxels of 1 case")
SVG = '<svg viewBox="0 0 1 1"></svg>'


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def cells(report: CheckReport) -> dict[str, object]:
    table = case_table(report)
    return dict(zip(table.columns, table.rows[0], strict=True))


def printed(report: CheckReport) -> str:
    console = Console(width=220, record=True, file=StringIO())
    console.print(render(report))
    return console.export_text()


def test_a_case_is_told_by_size_spacing_axes_field_of_view_hu_and_kernel() -> None:
    found = cells(REPORT)

    assert found["voxels"] == "512 x 512 x 100" and found["spacing mm"] == "0.7 x 0.7 x 2.5"
    assert found["field of view mm"] == "358 x 358 x 250" and found["HU"] == "-1024 to 3071"
    assert found["kernel"] == "B30f" and found["slices"] == "tilt -12.5°, 2 invented, 3 filled"


def test_columns_that_say_nothing_are_left_out() -> None:
    bare = replace(ROW, group=None, kernel="", tilt_deg=0.0, invented=(), filled={}, hu_range=None)

    assert cells(replace(REPORT, cases=(bare,))).keys().isdisjoint({"group", "kernel", "slices", "HU"})


def test_volumes_tell_what_was_not_read_and_how_many_pieces_there_are() -> None:
    table = volume_table(REPORT)

    assert table is not None and table.rows == [["c1", "A", "1500", "0"], ["c1", "B", "1400 (3)", "not read"]]


def test_structures_are_summed_up_over_the_cases_that_were_read() -> None:
    second = replace(ROW, case="c2", volumes_ml={"A": {"liver": 1000.0}}, components={"A": {"liver": 2}})

    table = structure_table(replace(REPORT, cases=(ROW, second)))

    assert table is not None
    assert table.rows[0] == ["liver", "A", "2", "2", "1250", "1000 to 1500", "1 to 2"]
    assert table.rows[2] == ["lesion", "A", "1", "0", "", "", ""]


def test_by_header_there_is_no_table_of_volumes() -> None:
    bare = replace(REPORT, cases=(replace(ROW, volumes_ml={}, components={}),))

    assert volume_table(bare) is None and structure_table(bare) is None


def test_the_terminal_ends_with_the_counts_and_what_was_looked_at() -> None:
    text = printed(REPORT).strip()

    assert text.endswith("1 case, 2 raters: 1 error, 1 warning. Looked at: voxels of 1 case")
    assert text.index("<b>bad</b>") < text.index("odd")  # errors first


def test_a_long_table_is_cut_in_the_terminal_and_says_so() -> None:
    many = replace(REPORT, cases=tuple(replace(ROW, case=f"c{n}") for n in range(MOST_ROWS + 7)))

    assert "7 more rows: --json and --html hold all" in printed(many)


def test_json_holds_everything_and_names_its_schema() -> None:
    data = json.loads(REPORT.to_json())

    assert (data["schema"], data["ok"], data["looked_at"]) == ("medseg.check/1", False, "voxels of 1 case")
    assert data["cases"][0]["components"]["B"]["liver"] == 3 and data["cases"][0]["invented"] == [3, 4]


def test_the_page_holds_problems_tables_and_pictures_without_script_or_request() -> None:
    html = check_page(REPORT, {"c1": [SVG]})
    page = Page(html)

    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags) and page.loads == []
    assert "default-src 'none'" in html and "http" not in html.replace("http-equiv", "")
    assert "case c1: &lt;b&gt;bad&lt;/b&gt;" in html and "Mend `it`." in html and SVG in html
    assert "contains patient images" in html and GENERATOR in html


@pytest.mark.parametrize("report", [REPORT, CheckReport({}, (), (), (ERROR,)), CheckReport(LABELS, (), (ROW,), ())])
def test_a_page_without_pictures_says_that_it_holds_none(report: CheckReport) -> None:
    html = check_page(report, {})

    assert ">no images<" in html and "contains patient images" not in html and "three planes" not in html


def test_of_many_cases_those_with_problems_are_pictured_first() -> None:
    rows = tuple(replace(ROW, case=f"c{n}") for n in range(MOST_PICTURED + 5))
    ill = rows[-1].case
    report = replace(REPORT, cases=rows, problems=(Problem("error", ill, "bad"),))

    html = check_page(report, {row.case: [SVG] for row in rows})

    pictured = re.findall(r'<div class="case"><h3>(c\d+)</h3>', html)
    assert len(pictured) == MOST_PICTURED and pictured[-1] == ill
    assert "5 more cases are not shown" in html
