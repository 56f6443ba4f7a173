"""`medseg agree`: is the model as close to the readers as they are to each other? Files, figures and the page.

The numbers come from `medseg.evaluation.agreement`; here they are only collected and written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medseg.evaluation.agreement import Json, LabelAgreement, Protocol
from medseg.evaluation.damaged import standard_damages
from medseg.evaluation.degrade import Damage, read_damage
from medseg.evaluation.self_checks import null_control_entry
from medseg.evaluation.surface_rules import surface_rule
from medseg.io.manifest import Dataset
from medseg.report.page import Table
from medseg.workflows.agreement_cache import check_out, open_out
from medseg.workflows.agreement_files import Extras, case_rows, overlays, pair_rows, write_agreement
from medseg.workflows.agreement_input import Input
from medseg.workflows.agreement_label import label_entry
from medseg.workflows.agreement_options import AgreementOptions
from medseg.workflows.agreement_result import SCHEMA, assemble
from medseg.workflows.agreement_scoring import Progress, Scored, Scoring, models_of, score_readings
from medseg.workflows.agreement_settings import settle
from medseg.workflows.agreement_viewers import viewer_pages, viewer_table, worst_rows, write_viewers
from medseg.workflows.fleet_finished import close_out
from medseg.workflows.outputs import plain
from medseg.workflows.readings import Models, ReadingOptions, Readings

__all__ = ["SCHEMA", "AgreementOptions", "agree"]


def agree(
    dataset: Dataset | str | Path | None = None,
    predictions: Models = None,
    *,
    out: str | Path,
    raters: str | Path | None = None,
    model: Models = None,
    manifest: str | Path | None = None,
    reading: ReadingOptions | None = None,
    options: AgreementOptions | None = None,
    tables: Sequence[Table] = (),
    on_case: Progress | None = None,
    **settings: Any,
) -> Json:
    """Agreement of readers with each other and of models with them; returns what `agreement.json` holds.

    Writes `agreement.json`, `pairs.csv`, `cases.csv`, `report.html`, `checklists.md` and `figures/*.svg` into `out`,
    and under `scored` every finished case, so that a comparison that was cut off goes on where it was.

    Args:
        dataset, predictions: a data set and a folder of `<case>.nii.gz`, or several, one per model; without
            predictions readers only.
        raters, model: bare folders `<rater>/<case>.nii.gz` and `<case>.nii.gz` instead, one or several models or none.
        manifest: a CSV or YAML list of readings instead.
        reading: what else is to be said about the input: names, patterns, maps of labels, resampling.
        options: what is judged and how; see `AgreementOptions`.
        tables: further tables for the page.
        on_case: called with (done, total) after each case.
        settings: any of the names of `AgreementOptions`, such as `margin=0.05`; they go before `options`.

    Raises:
        UsageError: arguments that exclude each other or make no sense.
        FileReadError, GeometryError, LabelError: see `medseg.workflows.readings`.
    """
    asked = replace(options or AgreementOptions(), **settings)
    judged = settle(asked)
    given = Input(dataset, predictions, raters, model, manifest)
    source = given.readings(asked, reading or ReadingOptions())
    cache = check_out(out, overwrite=asked.overwrite)
    scoring = Scoring(
        judged.scored_mm,
        _damages(asked.degrade, source),
        (*models_of(source), *source.raters)[0],
        asked.lesion_labels,
        asked.fleet,
        asked.seed,
        cache,
        surface_rule(asked.surface),
    )
    scored = score_readings(source, scoring, on_case)
    protocol = judged.protocol(asked, scored.labels, source)
    scored, protocol, tolerances = judged.with_tolerances(scored, protocol, source.raters)
    checked = judged.verify(protocol, scored.labels, source)
    protocol = replace(protocol, margin_source=checked.status)
    found = [label_entry(label, scored, source, scoring, protocol) for label in scored.labels]
    _add_checks(found, scored, source, protocol, tolerances, null_control=asked.null_control)
    result, deciding = assemble(source, scored, found, protocol, asked)
    if judged.registration:
        result["config"]["registration"] = asdict(checked)
    slices = overlays(source, found, deciding, protocol, asked.images)
    result["config"]["images"] = "contains patient images" if any(o.hu is not None for o in slices) else "no images"
    result = plain(result)
    pairs = plain(pair_rows(scored.cases, source.raters, models_of(source)))
    folder = open_out(out)  # only now: bad input leaves the old
    cache.keep({case.key for case in scored.results})
    worst = worst_rows(found, deciding, protocol.metric, asked.viewers)
    write_viewers(folder, source, worst, protocol, images=asked.images)
    page = Extras(slices, (*viewer_table(worst), *tables), viewer_pages(worst))
    write_agreement(folder, result, pairs, plain(case_rows(found)), page)
    close_out(folder)
    return result


def _add_checks(
    found: Sequence[LabelAgreement],
    scored: Scored,
    source: Readings,
    protocol: Protocol,
    tolerances: Mapping[str, Json],
    *,
    null_control: bool,
) -> None:
    """What was asked for besides, into the entries of the labels."""
    for label in found if null_control else ():
        label.entry["null_control"] = null_control_entry(scored.cases, label.label, source.raters, protocol)
    for label in found if tolerances else ():
        label.entry["tolerance"] = tolerances[label.label]


def _damages(degrade: bool | Sequence[str], source: Readings) -> tuple[Damage, ...]:
    if degrade is True:
        first = source.read(next(iter(source.cases)))
        return tuple(standard_damages(first.geometry.spacing_mm)) if first.readings else ()
    return tuple(read_damage(text) for text in degrade or ())
