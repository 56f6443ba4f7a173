"""The volume block of `agreement.json`: bias and limits of agreement with their intervals, and reliability."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.evaluation.bland_altman import bland_altman_bands
from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.secondary import fields
from medseg.evaluation.volume_reliability import volume_reliability


def volume_block(
    plain: Json | None,
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    model: str | None,
    protocol: Protocol,
) -> Json | None:
    """The plain bias and limits with Bland-Altman bands, in ml and as ratios, and for readers the reliability.

    Args:
        plain: what `volume_entry` gave; None: nobody measured the structure twice.
    """
    if plain is None:
        return None
    entry = dict(plain)
    for key, relative in (("bland_altman", False), ("bland_altman_ratio", True)):
        bands = bland_altman_bands(
            cases, label, raters, model, relative=relative, draws=protocol.draws, seed=protocol.seed
        )
        entry[key] = fields(bands)
    if model is None and len(raters) > 1:
        found = volume_reliability(
            cases, label, raters, anonymous=protocol.anonymous, draws=protocol.draws, seed=protocol.seed
        )
        entry["reliability"] = fields(found)
    return entry
