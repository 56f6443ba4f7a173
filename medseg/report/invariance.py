"""The invariance report as one HTML file that opens anywhere: no script, no request, images and figures inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from medseg.errors import UsageError
from medseg.evaluation.dose_response_scores import ALL, RESAMPLING, UNTRANSFORMED
from medseg.report.canvas import to_svg
from medseg.report.invariance_figures import PAGE_MM, Curve, dose_figure, dose_panel
from medseg.report.invariance_pictures import WorstCase, picture_svgs
from medseg.report.invariance_tables import break_table, dose_table, structure_table, transform_table, versus_table
from medseg.report.invariance_wording import against, dose_number, headline, methods, versus_sentence
from medseg.report.methods import provenance_tables
from medseg.report.palette import BLUE, CLASS_COLOURS, GREY, VERMILION, strokes
from medseg.report.tables import Table
from medseg.report.wording import number, plain, short

Json = Mapping[str, Any]
GENERATOR = '<meta name="generator" content="medseg invariance">'
MARKS = "osD^"
MOST_STRUCTURES = 12  # lines that can be told apart by colour and dashes
ACCURATE, OWN, ALONE = VERMILION, BLUE, GREY


def invariance_page(result: Json, pictures: Sequence[WorstCase] = ()) -> str:
    """The whole report as HTML text.

    Args:
        result: what `invariance.json` holds (schema `medseg.invariance/1`).
        pictures: the worst cases of the first model.
    """
    models = list(result["models"])
    first = models[0]
    pens = strokes([], models)
    return _environment().get_template("invariance.html").render(
        generator=Markup(GENERATOR),
        title="Invariance of a model" if len(models) == 1 else "Invariance of several models",
        style=Markup(_environment().get_template("style.css").render()),
        images=_images(pictures),
        sentences=[
            *((f"{first} against {other}", versus_sentence(result, other)) for other in models[1:]),
            *((model if len(models) > 1 else "", headline(result, model)) for model in models),
        ],
        colours=CLASS_COLOURS,
        notes=result["notes"],
        facts=_facts(result),
        keys=_keys(result),
        panels=_panels(result, models),
        own_panels=_own_panels(result, models),
        break_tables=[break_table(result, model) for model in models],
        versus_tables=[versus_table(result, other) for other in models[1:]],
        pictures=[_picture(case, first, pens) for case in pictures],
        model=first,
        structure_panels=_structure_panels(result, first),
        structure_keys=_structure_keys(result, first),
        structures_left_out=max(len(result["design"]["labels"]) - MOST_STRUCTURES, 0),
        own_dose=against(result["design"]["main_reference"]),
        detail_tables=_present([
            *(structure_table(result, model) for model in models), *(dose_table(result, model) for model in models),
        ]),
        methods=methods(result),
        transforms=transform_table(result),
        rules=result["rules"],
        provenance_tables=provenance_tables({"provenance": result["provenance"], "config": _settings(result)}),
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["cell"] = lambda cell: cell if isinstance(cell, str) else number(cell)
    environment.filters["short"] = lambda cell: not isinstance(cell, str) or len(cell) <= 48
    return environment


def _images(pictures: Sequence[WorstCase]) -> str:
    if any(case.has_image for case in pictures):
        return "contains patient images"
    return "no images (outlines only)" if pictures else "no images"


def _facts(result: Json) -> list[tuple[str, str]]:
    design = result["design"]
    return [
        ("cases", plain(design["n_cases"])),
        ("patients", plain(design["n_patients"])),
        ("structures", plain(len(design["labels"]))),
        ("transforms", plain(len(result["config"]["transforms"]))),
        ("predictions of each model", plain(design["n_predictions"])),
        ("measured against", against(design["main_reference"])),
        ("margin", dose_number(result["config"]["margin"])),
    ]


def _keys(result: Json) -> list[dict[str, str]]:
    """What the lines of the panels are: name, colour, dash."""
    models, main = result["models"], result["design"]["main_reference"]
    if len(models) > 1:
        return [{"name": name, "colour": pen.colour, "dash": ""} for name, pen in strokes([], models).items()]
    found = [] if main == UNTRANSFORMED else [{"name": f"Dice with {against(main)}", "colour": ACCURATE, "dash": ""}]
    return [*found, {"name": f"Dice with {against(UNTRANSFORMED)}", "colour": OWN, "dash": "5 2"},
            {"name": f"{RESAMPLING} (upper limit of the dashed line)", "colour": ALONE, "dash": "1.5 2"}]  # fmt: skip


def _panels(result: Json, models: Sequence[str]) -> list[Markup]:
    """A panel for each transform, all structures together."""
    main = result["design"]["main_reference"]
    if len(models) > 1:
        return _overlaid(result, models, main, "accuracy")
    return [
        _inline(dose_panel(facts, _one_model(result, models[0], name, main, ALL), margin=result["config"]["margin"]),
                f"panel-{name}")
        for name, facts in result["config"]["transforms"].items()
    ]  # fmt: skip


def _own_panels(result: Json, models: Sequence[str]) -> list[Markup]:
    """Of several models also the equivariance, unless that is all there is."""
    if len(models) < 2 or result["design"]["main_reference"] == UNTRANSFORMED:
        return []
    return _overlaid(result, models, UNTRANSFORMED, "own")


def _overlaid(result: Json, models: Sequence[str], reference: str, kind: str) -> list[Markup]:
    pens = strokes([], models)
    found = []
    for name, facts in result["config"]["transforms"].items():
        curves = [Curve(_points(result, model, name, ALL, reference), pens[model].colour, mark=MARKS[place])
                  for place, model in enumerate(models)]  # fmt: skip
        found.append(_inline(dose_panel(facts, curves), f"{kind}-{name}"))
    return found


def _one_model(result: Json, model: str, transform: str, main: str, label: str) -> list[Curve]:
    accurate = [Curve(_points(result, model, transform, label, main), ACCURATE)] if main != UNTRANSFORMED else []
    return [
        *accurate,
        Curve(_points(result, model, transform, label, UNTRANSFORMED), OWN, "5 2", mark="s"),
        Curve(_points(result, model, transform, label, RESAMPLING), ALONE, "1.5 2", band=False, mark=""),
    ]


def _shown_structures(result: Json, model: str) -> list[str]:
    """All structures when they are few, else those that lose most at a single dose; none where there is one only."""
    labels, main = result["design"]["labels"], result["design"]["main_reference"]
    if len(labels) < 2:
        return []

    def largest_drop(label: str) -> float:
        points = [point for name in result["config"]["transforms"]
                  for point in _points(result, model, name, label, main)]  # fmt: skip
        return max((point["drop"]["mean"] or 0.0 for point in points), default=0.0)

    kept = sorted(labels, key=largest_drop, reverse=True)[:MOST_STRUCTURES]
    return [label for label in labels if label in kept]


def _structure_panels(result: Json, model: str) -> list[Markup]:
    """A panel for each transform with a line for each structure."""
    labels, main = _shown_structures(result, model), result["design"]["main_reference"]
    pens = strokes(labels)
    found = []
    for name, facts in result["config"]["transforms"].items() if labels else ():
        curves = [Curve(_points(result, model, name, label, main), pens[label].colour, pens[label].dash, band=False)
                  for label in labels]  # fmt: skip
        found.append(_inline(dose_panel(facts, curves), f"structures-{name}"))
    return found


def _structure_keys(result: Json, model: str) -> list[dict[str, str]]:
    return [{"name": short(name), "colour": pen.colour, "dash": pen.dash}
            for name, pen in strokes(_shown_structures(result, model)).items()]  # fmt: skip


def curves_figure(
    result: Json, transforms: Sequence[str] | None = None, *, label: str = ALL, width_mm: float = PAGE_MM
) -> Figure:
    """The curves of `invariance.json` as one figure: of one model with each reference, of several overlaid.

    Args:
        transforms: some of the result's; all of them by default.
        label: a structure, or all together.

    Raises:
        UsageError: the result has no such transform or structure.
    """
    models, main = list(result["models"]), result["design"]["main_reference"]
    known = result["config"]["transforms"]
    chosen = list(known) if transforms is None else list(transforms)
    for name in chosen:
        if name not in known:
            raise UsageError(f"no transform '{name}' in the result", expected="one of " + ", ".join(known))
    if label not in (ALL, *result["design"]["labels"]):
        raise UsageError(
            f"no structure '{label}' in the result", expected=", ".join([ALL, *result["design"]["labels"]])
        )
    pens = strokes([], models)
    panels = {
        name: _one_model(result, models[0], name, main, label) if len(models) == 1 else
        [Curve(_points(result, model, name, label, main), pens[model].colour, mark=MARKS[place])
         for place, model in enumerate(models)]
        for name in chosen
    }  # fmt: skip
    first = panels[chosen[0]]
    names = models if len(models) > 1 else [key["name"].partition(" (")[0] for key in _keys(result)]
    title = f"Dice with {against(main)}" if len(models) > 1 else ""
    return dose_figure(panels, known, dict(zip(names, first, strict=True)), title=title, width_mm=width_mm)


def _points(result: Json, model: str, transform: str, label: str, reference: str) -> Sequence[Json]:
    return result["results"][model]["curves"].get(transform, {}).get(label, {}).get(reference, [])


def _picture(case: WorstCase, model: str, pens: Mapping[str, Any]) -> dict[str, Any]:
    before, after = picture_svgs(case, model, dict(pens))
    return {"title": case.title, "slices": [(case.before.title, _bare(before)), (case.after.title, _bare(after))]}


def _inline(figure: Any, name: str) -> Markup:
    return _bare(to_svg(figure, name))


def _bare(svg: str) -> Markup:
    """The element without name spaces, which HTML neither needs nor reads."""
    return Markup(svg.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    ))  # fmt: skip


def _settings(result: Json) -> Json:
    return {key: value for key, value in result["config"].items() if key != "transforms"}


def _present(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]
