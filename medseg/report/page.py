"""The agreement report as one HTML file that opens anywhere: no script, no request, images and figures inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.report.blocks import missingness
from medseg.report.checklists import checklist_tables
from medseg.report.details import detail_tables, reading_patterns
from medseg.report.drawings import Drawings
from medseg.report.methods import facts, methods, provenance_tables
from medseg.report.overlay import TRUTH, Overlay, overlay_svg
from medseg.report.palette import CLASS_COLOURS, Stroke, strokes
from medseg.report.paper import paper_text
from medseg.report.tables import (
    Cell,
    Link,
    Table,
    agreement_table,
    design,
    differences,
    judged_metric,
    marked_cases,
    metrics,
)
from medseg.report.wording import CLASS_MEANINGS, compact, finite, metric_name, number, structure, typeset

__all__ = ["Table", "agreement_page"]

Row = Mapping[str, Any]
MOST_FIGURE_LABELS = 12  # matrices and scatters are drawn for so many structures; the tables hold all of them
MOST_OVERLAYS = 24


def agreement_page(
    agreement: Mapping[str, Any],
    pairs: Sequence[Row],
    cases: Sequence[Row],
    overlays: Sequence[Overlay] = (),
    tables: Sequence[Table] = (),
    viewers: Mapping[str, str] | None = None,
    drawings: Drawings | None = None,
) -> str:
    """The whole report as HTML text.

    Args:
        agreement: what `agreement.json` holds (schema `medseg.agreement/1`).
        pairs: rows of `pairs.csv`; the readers' matrix and the volumes are drawn from them.
        cases: rows of `cases.csv`; the scatter and the worst cases come from them.
        overlays: slices, in the order to show them; only the first 24 are drawn, and the page says so.
        tables: further tables, printed under "Details" as they are.
        viewers: case to its viewer page, from the folder of the report; the tables of worst cases lead there.
        drawings: figures of this agreement, where they are drawn already.
    """
    drawn = drawings or Drawings(agreement, pairs, cases)
    metric = judged_metric(agreement)
    models = list(agreement["design"]["models"])
    pens = strokes(agreement["design"]["raters"], models)
    labels = _figure_labels(agreement, metric)
    return _environment().get_template("agreement.html").render(
        title="Agreement of a model with several readers" if models else "Agreement among readers",
        style=Markup(_environment().get_template("style.css").render()),
        images=_images(overlays),
        models=models,
        verdicts=_verdicts(agreement),
        warnings=_warnings(agreement),
        facts=facts(agreement, metric),
        forest=Markup(_bare(drawn.forest())),
        agreement_tables=[agreement_table(agreement, name) for name in metrics(agreement)],
        overlays=[_slice(overlay, models, pens) for overlay in overlays[:MOST_OVERLAYS]],
        overlay_note=_overlay_note(overlays),
        label_figures=[(structure(label), [Markup(_bare(svg)) for svg in drawn.of_label(label).values()])
                       for label in labels],
        figure_note=_figure_note(agreement, metric, labels),
        design_tables=_present(
            [design(agreement), marked_cases(agreement), _reading(agreement), reading_patterns(pairs)]
        ),
        detail_tables=[*detail_tables(agreement, cases, viewers or {}), *tables],
        methods=methods(agreement, metric),
        paper=dict(zip(("text", "references"), paper_text(agreement), strict=True)),
        checklist_tables=checklist_tables(agreement),
        provenance_tables=provenance_tables(agreement),
        class_meanings=CLASS_MEANINGS,
        class_colours=CLASS_COLOURS,
        dark_badges=("inconclusive",),
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["cell"] = _cell
    environment.filters["short"] = lambda cell: not isinstance(cell, str) or len(cell) <= 48
    return environment


def _cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return Markup('<a href="{}">{}</a>').format(cell.href, cell.text)
    if isinstance(cell, str):
        return compact(cell)
    return str(cell) if isinstance(cell, int) else number(cell)


def _verdicts(agreement: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "meaning": CLASS_MEANINGS.get(found["class"], ""),
            "class": found["class"],
            "sentence": typeset(found["sentence"]),
            "reasons": [typeset(reason) for reason in _grouped(found.get("reasons", []), agreement["labels"])],
        }
        for model, found in agreement.get("verdict", {}).items()
    ]


def _grouped(reasons: Iterable[str], labels: Iterable[str]) -> list[str]:
    """The reasons, those that several labels share told once: `liver, spleen: reason`."""
    names: dict[str, list[str]] = {}
    for reason in reasons:
        label = next((label for label in labels if reason.startswith(f"{label}: ")), "")
        names.setdefault(reason[len(label) + 2 :] if label else reason, []).append(label)
    return [", ".join(filter(None, found)) + (": " if any(found) else "") + reason for reason, found in names.items()]


def _warnings(agreement: Mapping[str, Any]) -> list[str]:
    """Warnings that no verdict gives among its reasons already."""
    told = {reason for found in agreement.get("verdict", {}).values() for reason in found.get("reasons", [])}
    return [typeset(warning) for warning in agreement.get("warnings", []) if warning not in told]


def _images(overlays: Sequence[Overlay]) -> str:
    if any(overlay.hu is not None for overlay in overlays):
        return "contains patient images"
    return "no images (outlines only)" if overlays else "no images"


def _bare(svg: str) -> str:
    """The element without name spaces, which HTML neither needs nor reads."""
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )


def _slice(overlay: Overlay, models: Sequence[str], pens: Mapping[str, Stroke]) -> dict[str, str]:
    svg = overlay_svg(overlay, models, _known(overlay, pens))
    return {"case": overlay.case, "title": overlay.title, "svg": Markup(_bare(svg))}


def _known(overlay: Overlay, pens: Mapping[str, Stroke]) -> Mapping[str, Stroke]:
    """The page's strokes, with more for names that the design does not list."""
    others = [name for name in overlay.masks if name not in pens and name != TRUTH]
    return {**strokes([*pens, *others]), **pens} if others else pens


def _figure_labels(agreement: Mapping[str, Any], metric: str) -> list[str]:
    """The structures to draw: all when they are few, else those with the lowest D, in the order of the file."""
    means: dict[str, float] = {}
    for label, _, entry in differences(agreement, metric):
        mean = finite(entry.get("mean"))
        means[label] = min(means.get(label, float("inf")), float("inf") if mean is None else mean)
    everything = list(agreement["labels"])
    kept = sorted(everything, key=lambda label: means.get(label, float("inf")))[:MOST_FIGURE_LABELS]
    return [label for label in everything if label in kept]


def _figure_note(agreement: Mapping[str, Any], metric: str, labels: Sequence[str]) -> str:
    text = (
        f"Mean {metric_name(metric)} of every pair over the cases where it is defined. Scatter: every case once; "
        "the full line is equality, the dashed line the margin. Volumes: differences of single pairs, with their mean "
        "and limits of agreement. Plane: near names agree; its axes mean nothing. Curves: mean NSD over patients at "
        "every tolerance."
    )
    total = len(agreement["labels"])
    if len(labels) < total:
        text += f" Drawn for {len(labels)} of {total} structures, those with the lowest D; the tables hold all."
    return text


def _overlay_note(overlays: Sequence[Overlay]) -> str:
    text = (
        "The model is the thickest line, below the readers' thinner ones, so that equal outlines show as bands. "
        "Cropped around the outlines."
    )
    if any(overlay.hu is not None for overlay in overlays):
        text += " Grey values: −160 to 240 HU."
    if len(overlays) > MOST_OVERLAYS:
        text += f" {MOST_OVERLAYS} of {len(overlays)} slices are shown."
    return text


def _reading(agreement: Mapping[str, Any]) -> Table | None:
    """Who read which structure, unless a name stands for several people."""
    return None if agreement["design"].get("anonymous") else missingness(agreement)


def _present(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]
