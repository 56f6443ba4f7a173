"""One structure of a comparison: every block of its entry in `agreement.json`, from the scored cases."""

from __future__ import annotations

from medseg.evaluation.agreement import LabelAgreement, Protocol, label_agreement
from medseg.evaluation.label_blocks import (
    add_matrix,
    curves_entry,
    intra_reader_entry,
    lesion_entry,
    missingness_entry,
    strata_entry,
    truth_check_entry,
)
from medseg.evaluation.sample_scores import samples_entry
from medseg.evaluation.self_checks import degrade_entry
from medseg.evaluation.soft_scores import probability_entry, reliability_entry
from medseg.evaluation.trained_on import trained_on_entry
from medseg.evaluation.voxel_agreement import kappa_entry, staple_entry
from medseg.workflows.agreement_scoring import Scored, Scoring, models_of, repeats_of
from medseg.workflows.readings import Readings


def label_entry(label: str, scored: Scored, source: Readings, scoring: Scoring, protocol: Protocol) -> LabelAgreement:
    """One structure: agreement, what is counted voxel by voxel, who read what, and the checks that were asked for."""
    cases, raters, models = scored.cases, source.raters, models_of(source)
    found = label_agreement(cases, label, raters, models, protocol)
    _add_consensus(found, scored, source, protocol)
    found.entry["missingness"] = missingness_entry(scored.read, label, raters, models)
    if not source.anonymous:
        add_matrix(found.entry, cases, label, raters, models, protocol)
    found.entry["surface_curves"] = curves_entry(cases, label, raters, None)
    if repeats := repeats_of(source):
        found.entry["intra_reader"] = intra_reader_entry(cases, label, repeats, protocol)
    for model in models:
        _add_model(found, model, scored, source, protocol)
    if scoring.damages:
        found.entry["degrade"] = degrade_entry(cases, label, raters, scoring.player, scoring.damaged, protocol)
    return found


def _add_consensus(found: LabelAgreement, scored: Scored, source: Readings, protocol: Protocol) -> None:
    voxels, patients = scored.voxels(found.label)
    found.entry["kappa"] = kappa_entry(voxels, patients, draws=protocol.draws, seed=protocol.seed)
    staple = staple_entry(voxels, patients)
    if staple and source.anonymous:  # reader K is another person in every case
        del staple["raters"]
    found.entry["consensus"]["staple"] = staple
    if not models_of(source) and (lesions := scored.lesions(found.label)):
        found.entry["lesions"] = lesion_entry(lesions, found.label, source.raters, None, protocol)


def _add_model(found: LabelAgreement, model: str, scored: Scored, source: Readings, protocol: Protocol) -> None:
    label, entry = found.label, found.entry["models"][model]
    class_ = found.judged[model].class_
    entry["truth"] = truth_check_entry(scored.cases, label, source.raters, model, class_, protocol)
    entry["surface_curves"] = curves_entry(scored.cases, label, source.raters, model)
    if learned := source.trained_on.get(model):
        apart = trained_on_entry(scored.cases, label, source.raters, model, learned, protocol)
        entry["trained_on"] = None if source.anonymous else apart
    soft, patients = scored.soft(label, model)
    if soft:
        entry["probabilities"] = probability_entry(soft, patients, protocol)
        entry["reliability"] = reliability_entry(soft)
    drawn, owners = scored.samples(label, model)
    if drawn:
        entry["samples"] = samples_entry(drawn, owners, protocol)
    if source.strata:
        rows = [row for row in found.rows[model] if row.metric == protocol.metric]
        entry["strata"] = strata_entry(rows, source.strata, protocol)
    if lesions := scored.lesions(label):
        entry["lesions"] = lesion_entry(lesions, label, source.raters, model, protocol)
