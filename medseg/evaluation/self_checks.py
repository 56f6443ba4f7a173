"""Checks that users can run on their own data: a reader who plays the model, and a model damaged by known amounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medseg.evaluation.agreement import judge_model
from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.verdict import DESCRIPTIVE, WORST_FIRST

FEWEST_READERS = 3  # one plays the model, two remain to agree with each other
NULL_RULE = (
    "each reader in turn plays the model and the others remain the readers: D is about 0 and Williams' index about 1 "
    "where readers are alike; what a reader gets, a model may get"
)
DEGRADE_RULE = (
    "the same outlines damaged by known amounts, judged as the model was: a verdict that no damage changes says nothing"
)


def null_control_entry(cases: Sequence[CaseScores], label: str, raters: Sequence[str], protocol: Protocol) -> Json:
    """By reader, what the judged metric says when that reader plays the model."""
    if protocol.anonymous:
        return {"readers": {}, "reason": "the readers are anonymous: nobody is the same person in every case"}
    if len(raters) < FEWEST_READERS:
        return {"readers": {}, "reason": f"{FEWEST_READERS} readers are needed: one plays the model, two remain"}
    found = {rater: _judged(cases, label, _others(raters, rater), rater, protocol) for rater in raters}
    return {"metric": protocol.metric, "readers": found, "rule": NULL_RULE}


def degrade_entry(
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    player: str,
    damaged: Mapping[str, str],
    protocol: Protocol,
) -> Json:
    """By damage, what the judged metric says, and whether the verdict got worse than that of the undamaged outlines.

    Args:
        player: whose outlines were damaged: a model, or a reader who plays it.
        damaged: damage in words to the name under which the damaged outlines were scored.
    """
    readers = _others(raters, player)
    before = _judged(cases, label, readers, player, protocol)
    after = {words: _judged(cases, label, readers, name, protocol) for words, name in damaged.items()}
    for found in after.values():
        found["flipped"] = _is_worse(found["class"], before["class"])
        found["change"] = found["difference"]["mean"] - before["difference"]["mean"]
    return {"player": player, "metric": protocol.metric, "undamaged": before, "damaged": after, "rule": DEGRADE_RULE}


def _others(raters: Sequence[str], player: str) -> list[str]:
    return [rater for rater in raters if rater != player]


def _judged(cases: Sequence[CaseScores], label: str, raters: Sequence[str], player: str, protocol: Protocol) -> Json:
    """Difference with interval, Williams index where it has one, and the class."""
    judged, entry = judge_model(cases, label, raters, player, protocol)
    found = entry["difference"][protocol.metric]
    return {
        "difference": {key: found[key] for key in ("mean", "ci95", "method", "n", "n_patients", "margin")},
        "williams": entry["williams"].get(protocol.metric),
        "class": judged.class_,
        "reasons": list(judged.reasons),
    }


def _is_worse(after: str, before: str) -> bool | None:
    """None where nothing was judged; `descriptive` is no class to fall to."""
    if DESCRIPTIVE in (after, before):
        return None
    return WORST_FIRST.index(after) < WORST_FIRST.index(before)
