"""Doses, thresholds and methods in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.evaluation.dose_response_scores import ALL, EXPERTS, RESAMPLING, TRUTH, UNTRANSFORMED
from medseg.report.wording import number

Json = Mapping[str, Any]
AGAINST = {TRUTH: "the truth", EXPERTS: "the experts", UNTRANSFORMED: "its own untransformed prediction"}


def dose_number(dose: float, digits: int = 3) -> str:
    """A dose in few digits, with a true minus sign.

    >>> dose_number(-100.0), dose_number(0.05), dose_number(27.3456)
    ('−100', '0.05', '27.3')
    """
    return f"{dose:.{digits}g}".replace("-", "−")


def dose_phrase(transform: str, dose: float) -> str:
    """A transform at a dose as a phrase.

    >>> dose_phrase("rotation_z", 20), dose_phrase("scale", 0.7), dose_phrase("flip_x", 1)
    ('rotation about foot-head 20 degrees', 'scale 0.7', 'flip left to right')
    """
    challenge = CHALLENGES[transform]
    name = challenge.title if challenge.title[:2].isupper() else challenge.title[0].lower() + challenge.title[1:]
    if challenge.whole and challenge.limits == (0, 1):
        return name
    return f"{name} {with_unit(dose, challenge.unit)}"


def with_unit(dose: float, unit: str) -> str:
    """A dose with its unit."""
    text = dose_number(dose)
    return text if not unit or unit == "0 or 1" else f"{text} {unit}"


def against(reference: str) -> str:
    """A reference as it stands after "Dice with"."""
    return AGAINST.get(reference, f"expert {reference}")


def break_phrase(side: Json, unit: str, *, switch: bool = False) -> str:
    """Where a side breaks, with its interval; an end beyond the tested doses is said to be so."""
    tested = with_unit(side["tested_to"], unit)
    if switch:
        return "breaks" if side["at"] is not None else "does not break"
    text = f"not within the tested doses (to {tested})" if side["at"] is None else with_unit(side["at"], unit)
    ends = side.get("ci95")
    if not ends:
        return text
    near, far = (f"beyond {dose_number(side['tested_to'])}" if end is None else dose_number(end) for end in ends)
    return f"{text} (95 % CI {far} to {near})" if side["side"] == "below" else f"{text} (95 % CI {near} to {far})"


def headline(result: Json, model: str) -> str:
    """One sentence: what breaks, and what does not."""
    main, margin = result["design"]["main_reference"], result["config"]["margin"]
    broken, whole = split_by_break(result, model)
    sentence = f"Mean Dice with {against(main)} falls by more than {dose_number(margin)} within the tested doses of "
    if not broken:
        return sentence + ("no transform (1 tested)." if len(whole) == 1 else f"none of the {len(whole)} transforms.")
    names = ", ".join(titles(broken, result))
    return sentence + f"{len(broken)} of {len(broken) + len(whole)} transforms: {names}."


def versus_sentence(result: Json, other: str) -> str:
    """Over which transforms the first model keeps more or less Dice than another one, by intervals without 0."""
    first, main = result["models"][0], result["design"]["main_reference"]
    higher: list[str] = []
    lower: list[str] = []
    for name, labels in result["versus"][other].items():
        ends = labels[ALL][main].get("mean_over_doses", {}).get("ci95")
        if ends and ends[0] > 0:
            higher.append(name)
        elif ends and ends[1] < 0:
            lower.append(name)
    total = len(result["versus"][other])
    unclear = total - len(higher) - len(lower)
    told = [f"higher with {first} than with {other} in {len(higher)} ({', '.join(titles(higher, result))})"
            if higher else "",
            f"lower with {first} than with {other} in {len(lower)} ({', '.join(titles(lower, result))})"
            if lower else "",
            f"not shown to differ in {unclear}" if unclear else ""]  # fmt: skip
    return (
        f"Of {total} transforms, the mean Dice with {against(main)} over the tested doses is "
        f"{', '.join(filter(None, told))} (95 % intervals over the same patients, not corrected for the number of "
        "transforms)."
    )


def titles(names: Sequence[str], result: Json) -> list[str]:
    """The transforms' titles, as in the middle of a sentence."""
    found = [result["config"]["transforms"][name]["title"] for name in names]
    return [title if title[:2].isupper() else title[0].lower() + title[1:] for title in found]


def split_by_break(result: Json, model: str) -> tuple[list[str], list[str]]:
    """Transforms that break on some side and those that do not."""
    main = result["design"]["main_reference"]
    found = result["results"][model]["breaks"]
    broken = [name for name, labels in found.items()
              if any(side["at"] is not None for side in labels.get(ALL, {}).get(main, []))]  # fmt: skip
    return broken, [name for name in found if name not in broken]


def methods(result: Json) -> list[str]:
    """Paragraphs for the methods section of a paper, for the settings of this test."""
    design, config = result["design"], result["config"]
    main = design["main_reference"]
    transforms = "; ".join(_transform_phrase(facts) for facts in config["transforms"].values())
    accuracy = "" if main == UNTRANSFORMED else (
        f"Accuracy was measured as the Dice of the mapped-back prediction with {against(main)}, equivariance as "
    )  # fmt: skip
    return [
        f"Invariance was tested on {design['n_cases']} CT studies of {design['n_patients']} patients with medseg. Each "
        f"study was changed by one transform at one dose at a time, predicted, and the prediction was mapped back to "
        f"the study's own grid: {transforms}.",
        "Moves were made in physical units about the middle of the volume, on a canvas that was enlarged by whole "
        "voxels until nothing of the volume was lost and padded with air (−1024 HU); images were interpolated "
        "trilinearly, labels by the nearest voxel. The whole of the study's own grid was compared. Under occlusion the "
        "reference kept what was hidden; after a left-right flip the names of mirror pairs were exchanged back.",
        (accuracy or "Equivariance was measured as ")
        + "its Dice with the model's own prediction of the unchanged study (equivariance error = 1 − Dice). A "
        "structure that only one of the two marked counts as 0. Dice was averaged over the structures of a study, then "
        "over the studies of a patient, then over patients.",
        f"Intervals are 95 % patient-bootstrap intervals ({config['draws']} draws, seed {config['seed']}). A curve "
        f"breaks at the first dose, interpolated between the tested ones, at which the mean drop from the unchanged "
        f"input exceeds {dose_number(config['margin'])}. "
        f"“{RESAMPLING[0].upper()}{RESAMPLING[1:]}” is the untransformed prediction carried there and back without a "
        "model: the most that a perfectly equivariant model reaches.",
    ]


def _transform_phrase(facts: Json) -> str:
    title = facts["title"] if facts["title"][:2].isupper() else facts["title"][0].lower() + facts["title"][1:]
    return title if facts["unit"] == "0 or 1" else f"{title} ({doses_phrase(facts)})"


def doses_phrase(facts: Json) -> str:
    """The doses of a transform but the identity, with their unit."""
    doses = ", ".join(dose_number(dose) for dose in facts["doses"] if dose != facts["identity"])
    return doses if not facts["unit"] or facts["unit"] == "0 or 1" else f"{doses} {facts['unit']}"


def signed(entry: Json | None) -> str:
    """A difference with its interval."""
    if not entry or entry.get("difference") is None:
        return "not defined"
    text = number(entry["difference"], signed=True)
    ends = entry.get("ci95")
    return text if not ends else f"{text} ({number(ends[0], signed=True)} to {number(ends[1], signed=True)})"
