"""Further blocks of a label in `agreement.json`: who read what, everybody with everybody, curves, truth, strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.evaluation.curves import surface_curves
from medseg.evaluation.embedding import embed
from medseg.evaluation.entries import TRUTH, Json, Protocol
from medseg.evaluation.instances import DEFAULT_RULE
from medseg.evaluation.lesion_agreement import LESION_MEASURES, CaseLesions, detection_by_size, lesion_agreement
from medseg.evaluation.missingness import ReadCase, label_design
from medseg.evaluation.paired import CaseAgreement, CaseScores
from medseg.evaluation.pairwise import pairwise_matrix
from medseg.evaluation.repeats import intra_reader
from medseg.evaluation.secondary import fields
from medseg.evaluation.strata import strata
from medseg.evaluation.tolerance import RULE, reader_tolerances, with_tolerances
from medseg.evaluation.truth import truth_comparison, truth_presence, was_right


def add_matrix(
    entry: Json,
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    models: Sequence[str],
    protocol: Protocol,
) -> None:
    """Everybody with everybody in the judged metric, and their picture in the plane."""
    matrix = pairwise_matrix(cases, label, protocol.metric, raters, models, protocol)
    entry["matrix"] = matrix.as_dict() | {"metric": protocol.metric}
    plane = embed(matrix)
    names = [name for name in matrix.names if name in plane.points]
    entry["embedding"] = None
    if names:
        entry["embedding"] = {
            "names": names,
            "coordinates": [plane.points[name] for name in names],
            "explained": plane.share,
            "stress": plane.stress,
            "filled": plane.filled,
        }


def missingness_entry(cases: Sequence[ReadCase], label: str, raters: Sequence[str], models: Sequence[str]) -> Json:
    """Who read which case and found the structure in it, and how many cases every two readers share."""
    entry = fields(label_design(cases, label, raters, models))
    del entry["label"]
    entry["pairs"] = [{"a": a, "b": b, "cases": n} for (a, b), n in entry["pairs"].items()]
    return entry


def curves_entry(cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str | None) -> Json:
    """NSD at every tolerance, of readers among each other and of a model with them."""
    return surface_curves(cases, label, raters, model).as_dict()


def cross_fitted(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str]
) -> tuple[list[CaseScores], float, Json]:
    """The cases with NSD at tolerances from the readers of other patients, the median tolerance, and how it came."""
    found = reader_tolerances(cases, label, raters)
    mm = {patient: tolerance.mm for patient, tolerance in found.items()}
    middle = float(np.median(list(mm.values())))
    entry: Json = {"median_mm": middle, "lowest_mm": min(mm.values()), "highest_mm": max(mm.values()), "n": len(mm)}
    return with_tolerances(cases, label, mm), middle, entry | {"rule": RULE}


def truth_check_entry(
    cases: Sequence[CaseScores], label: str, raters: Sequence[str], model: str, class_: str, protocol: Protocol
) -> Json | None:
    """The model's distance to the external truth beside the readers', and whether the verdict was right."""
    if not any(TRUTH in (score.a, score.b) for case in cases for score in case.of(label)):
        return None
    found = truth_comparison(cases, label, protocol.metric, raters, model, protocol, anonymous=protocol.anonymous)
    if found is None:
        return None
    entry = fields(found)
    del entry["rows"]
    names = [model] if protocol.anonymous else [*raters, model]
    check = was_right(class_, found, protocol.margins.get(label))
    return entry | {"presence": truth_presence(cases, label, names), "check": fields(check)}


def strata_entry(rows: Sequence[CaseAgreement], groups: Mapping[str, Mapping[str, str]], protocol: Protocol) -> list:
    """D in every group of cases; `groups` holds by case the value of each factor."""
    names = list(dict.fromkeys(factor for values in groups.values() for factor in values))
    factors = {f: {case: values[f] for case, values in groups.items() if f in values} for f in names}
    return [fields(found) for found in strata(rows, factors, protocol)]


def intra_reader_entry(
    cases: Sequence[CaseScores], label: str, repeats: Mapping[str, Sequence[str]], protocol: Protocol
) -> Json:
    """Agreement of readers with themselves in the judged metric."""
    entry = fields(intra_reader(cases, label, protocol.metric, repeats, protocol))
    del entry["rows"]
    return entry


def lesion_entry(
    cases: Sequence[CaseLesions], label: str, raters: Sequence[str], model: str | None, protocol: Protocol
) -> Json:
    """Detection of lesions: every measure with its paired difference, and by size of the lesion."""
    found: Json = {"rule": str(DEFAULT_RULE), "measures": {}, "by_size": []}
    for measure in LESION_MEASURES:
        entry = fields(lesion_agreement(cases, label, measure, raters, model, draws=protocol.draws, seed=protocol.seed))
        found["measures"][measure] = {key: entry[key] for key in entry if key not in ("rows", "measure", "lesion_rule")}
    if model and len(raters) > 1:
        sizes = detection_by_size(cases, label, raters, model, draws=protocol.draws, seed=protocol.seed)
        found["by_size"] = [fields(size) for size in sizes]
    return found
