"""A training as one HTML file that opens anywhere: no script, no request, curves and pictures inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.report.canvas import to_svg
from medseg.report.overlay import Overlay, overlay_svg
from medseg.report.palette import BLUE, GREEN, ORANGE, SKY, VERMILION, Stroke
from medseg.report.run_curves import curve_strokes, dice_curves, number_curve
from medseg.report.run_pictures import Seen
from medseg.report.run_tables import case_table, fold_table, structure_table, time_table
from medseg.report.tables import Table
from medseg.report.wording import number

GENERATOR = '<meta name="generator" content="medseg runs">'
COLOURS = {"finished": GREEN, "running": BLUE, "stopped": ORANGE, "failed": VERMILION}
REFERENCE, PREDICTION = "majority", "prediction"
PENS = {REFERENCE: Stroke(SKY), PREDICTION: Stroke(VERMILION)}
TELLING_S = 30.0  # of steps, below which the start of the loader counts for too much
WORTH_ADVICE = 0.2  # share of the time spent waiting, above which the page speaks of it


@dataclass(frozen=True)
class TrainingReport:
    """What the page tells.

    Args:
        name: of the run.
        state: `finished`, `running`, `stopped` or `failed`.
        step, steps: optimiser steps done and wanted.
        seconds: that training took.
        rows: of the log.
        structures: class names without the background, in their order.
        folds: number of cases of each fold.
        fold: the one that is held out, or `all`.
        batch: patches per step.
        settings: of the recipe, as text.
        provenance: versions and the like.
        slices: of the worst cases of the last validation.
        labels: class names, the background first; of the slices.
    """

    name: str
    state: str
    step: int
    steps: int
    seconds: float
    rows: Sequence[Mapping[str, Any]]
    structures: Sequence[str]
    folds: Sequence[int]
    fold: int | str
    batch: int
    settings: Mapping[str, str]
    provenance: Mapping[str, str]
    slices: Sequence[Seen] = ()
    labels: Sequence[str] = field(default=())

    @property
    def validations(self) -> list[Mapping[str, Any]]:
        """Rows of the log that hold a validation."""
        return [row for row in self.rows if isinstance(row.get("validation_dice"), Mapping)]


def training_page(report: TrainingReport, *, images: bool = True) -> str:
    """The page as HTML text; without `images` the slices are outlines on white."""
    slices = [seen if images else replace(seen, hu=None) for seen in report.slices if seen.structure]
    pictures = [_picture(seen, report) for seen in slices]
    environment = _environment()
    return environment.get_template("run.html").render(
        generator=Markup(GENERATOR),
        title=f"Training: {report.name}",
        style=Markup(environment.get_template("style.css").render()),
        images=_images(slices),
        colour=COLOURS.get(report.state, ORANGE),
        sentence=_sentence(report),
        notes=_notes(report),
        facts=_facts(report),
        keys=_keys(report),
        hidden=len(report.structures) - len(curve_strokes(report.rows)),
        dice=_svg(dice_curves(report.rows), "dice") if report.validations else None,
        curves=_curves(report),
        structures=structure_table(report.rows, report.structures),
        cases=case_table(report.rows),
        pictures=pictures,
        pens=[(name, pen.colour) for name, pen in PENS.items()],
        tables=[fold_table(report.folds, report.fold), time_table(report.rows, report.seconds, report.batch)],
        settings=Table("Settings", ("setting", "value"), list(report.settings.items())),
        provenance=Table("Provenance", ("what", "which"), list(report.provenance.items())),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["cell"] = lambda cell: cell if isinstance(cell, str | int) else number(cell)
    environment.filters["short"] = lambda cell: not isinstance(cell, str) or len(cell) <= 32
    return environment


def _images(slices: Sequence[Seen]) -> str:
    if any(seen.hu is not None for seen in slices):
        return "contains patient images"
    return "no images (outlines only)" if slices else "no images"


def _sentence(report: TrainingReport) -> str:
    steps = f"{report.state.capitalize()} after {report.step} of {report.steps} steps"
    if not report.validations:
        return f"{steps}; no validation."
    best = max(report.validations, key=lambda row: row["mean_dice"])
    last = report.validations[-1]
    told = f"best mean validation Dice {number(best['mean_dice'])} at step {best['step']}"
    return f"{steps}; {told}" + (f", last {number(last['mean_dice'])}." if last is not best else ".")


def _notes(report: TrainingReport) -> list[str]:
    """What a reader should know before looking at numbers."""
    notes = []
    if not report.validations:
        notes.append("No case was held out, or training ended before the first validation: nothing here says how good "
                     "the network is.")  # fmt: skip
    else:
        last = report.validations[-1]["validation_dice"]
        never = [name for name, dice in last.items() if not dice]
        if never:
            notes.append(f"Not found at all in the last validation: {', '.join(never)}.")
        if absent := [name for name in report.structures if name not in last]:
            notes.append(f"Marked in no validation case: {', '.join(absent)}.")
    waiting = _share(report.rows)
    if waiting is not None and waiting > WORTH_ADVICE:
        notes.append(f"{waiting:.0%} of the time was spent waiting for data; more sampling.workers would shorten it."
                     .replace("%", "\u00a0%"))  # fmt: skip
    return notes


def _share(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of the logged time that was spent waiting for data; none of less than half a minute, most of which is the
    start of the loader."""
    known = [(row["seconds"], row["wait_share"]) for row in rows if "seconds" in row and "wait_share" in row]
    total = sum(seconds for seconds, _ in known)
    return sum(seconds * share for seconds, share in known) / total if total >= TELLING_S else None


def _facts(report: TrainingReport) -> list[tuple[str, str]]:
    cases = sum(report.folds)
    held_out = report.folds[report.fold] if isinstance(report.fold, int) else 0
    waiting = _share(report.rows)
    return [
        ("steps", f"{report.step} of {report.steps}"),
        ("time", _minutes(report.seconds)),
        *([("per step", f"{report.seconds / report.step:.3g} s")] if report.step else []),
        *([("waiting for data", f"{waiting * 100:.0f}\u00a0%")] if waiting is not None else []),
        ("training cases", str(cases - held_out)),
        ("validation cases", str(held_out)),
    ]


def _minutes(seconds: float) -> str:
    """Seconds below two minutes, else hours and minutes.

    >>> _minutes(95), _minutes(8000)
    ('95 s', '2 h 13 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _keys(report: TrainingReport) -> list[dict[str, str]]:
    """The legend of the Dice curves."""
    pens = curve_strokes(report.rows)
    mean = [{"name": "mean", "colour": "currentColor", "dash": "", "width": "3.5"}] if len(pens) > 1 else []
    return mean + [{"name": name, "colour": pen.colour, "dash": pen.dash, "width": "2.5"} for name, pen in pens.items()]


def _curves(report: TrainingReport) -> list[Markup]:
    rows = report.rows
    wanted = {
        "loss": ("loss", {}),
        "learning_rate": ("learning rate", {}),
        "patches_per_second": ("patches per second", {}),
        "wait_share": ("waiting for data (%)", {"factor": 100.0, "top": 102.0}),
    }
    return [
        _svg(number_curve(rows, key, label, **options), key.replace("_", "-"))
        for key, (label, options) in wanted.items()
        if any(key in row for row in rows)
    ]


def _svg(figure: Any, name: str) -> Markup:
    return Markup(_bare(to_svg(figure, name)))


def _bare(svg: str) -> str:
    """The element without name spaces, which HTML neither needs nor reads."""
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )


def _last_cases(report: TrainingReport) -> Mapping[str, Mapping[str, float]]:
    """Dice by case of the last validation; older runs did not note them."""
    return (report.validations[-1].get("cases") or {}) if report.validations else {}


def _picture(seen: Seen, report: TrainingReport) -> dict[str, Any]:
    index = list(report.labels).index(seen.structure)
    masks = {REFERENCE: seen.reference == index, PREDICTION: seen.prediction == index}
    dice = _last_cases(report).get(seen.case, {}).get(seen.structure)
    title = f"{seen.structure}, Dice {number(dice)}, slice {seen.place}"
    overlay = Overlay(seen.case, title, masks, seen.pixel_mm, seen.hu)
    return {"case": seen.case, "title": title, "svg": Markup(_bare(overlay_svg(overlay, (PREDICTION,), PENS)))}
