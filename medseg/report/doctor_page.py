"""The check of a data set as one HTML file that opens anywhere: no script, no request, pictures inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.report.doctor import TRUTH, CheckReport, Problem
from medseg.report.doctor_tables import case_table, structure_table, volume_table
from medseg.report.palette import GREEN, ORANGE, VERMILION, strokes

GENERATOR = '<meta name="generator" content="medseg check">'
MOST_PICTURED = 200  # cases with pictures, those with problems first: about 0.1 MB each
COLOURS = {"error": VERMILION, "warning": ORANGE, "good": GREEN}


def check_page(report: CheckReport, views: Mapping[str, Sequence[str]]) -> str:
    """The whole check as HTML text.

    Args:
        views: SVGs by case; without any the page holds no image.
    """
    pictured = _pictured(report, views)
    return _environment().get_template("doctor.html").render(
        generator=Markup(GENERATOR),
        title="Check of a data set",
        style=Markup(_environment().get_template("style.css").render()),
        images="contains patient images" if pictured else "no images",
        report=report,
        colour=COLOURS["good" if not report.problems else "warning" if report.ok else "error"],
        colours=COLOURS,
        facts=_facts(report),
        problems=sorted(report.problems, key=lambda problem: problem.severity),
        structures=structure_table(report),
        tables=[table for table in (case_table(report), volume_table(report)) if table is not None and table.rows],
        pens=[(rater, stroke.colour) for rater, stroke in strokes(report.raters).items()],
        dotted=any(TRUTH in row.volumes_ml for row in report.cases),
        pictures=[_picture(case, views[case], report) for case in pictured],
        hidden=len(views) - len(pictured),
    )  # fmt: skip


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _pictured(report: CheckReport, views: Mapping[str, Sequence[str]]) -> list[str]:
    """The cases to show, in their order."""
    ill = {problem.case for problem in report.problems}
    kept = set(sorted(views, key=lambda case: case not in ill)[:MOST_PICTURED])
    return [case for case in views if case in kept]


def _picture(case: str, svgs: Sequence[str], report: CheckReport) -> dict[str, Any]:
    problems: list[Problem] = [problem for problem in report.problems if problem.case == case]
    return {"case": case, "svgs": [Markup(svg) for svg in svgs], "problems": problems}


def _facts(report: CheckReport) -> list[tuple[str, str]]:
    errors = sum(problem.severity == "error" for problem in report.problems)
    splits = sorted({row.split for row in report.cases if row.split})
    counted = ", ".join(f"{sum(row.split == name for row in report.cases)} {name}" for name in splits)
    return [
        ("errors", str(errors)),
        ("warnings", str(len(report.problems) - errors)),
        ("cases", str(len(report.cases))),
        ("patients", str(len({row.patient for row in report.cases}))),
        ("raters", str(len(report.raters))),
        *([("splits", counted)] if counted else []),
    ]
