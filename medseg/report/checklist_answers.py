"""What an agreement can say to the items of GRRAS and CLAIM: number to (known, still missing)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medseg.report.methods import methods
from medseg.report.tables import Agreement, differences, judged_metric, metric_rule, metrics, tolerance
from medseg.report.wording import estimate, finite, metric_name, plain, structure

Answers = dict[int, tuple[str, str]]
SHOWN = 6  # structures named in an answer; the tables hold all
CHECKS = {
    "null_control": "each reader in turn played the model",
    "degrade": "the verdict was asked of outlines damaged by known amounts",
    "two_way": "readers were drawn with the patients or left out one by one",
    "strata": "D per stratum",
}


def grras_answers(agreement: Agreement) -> Answers:
    """For GRRAS' 15 items; what is absent here only the author knows."""
    return {
        2: (
            f"Outlines of {_structures(agreement)} on CT, compared by {_metric_names(agreement)}.",
            "scanner and protocol",
        ),
        6: (_counts(agreement) + _planning(agreement), "" if _planning(agreement) else "why so many"),
        9: (_independence(agreement), "whether readers saw each other's outlines or the model's"),
        10: (" ".join(methods(agreement, judged_metric(agreement))), ""),
        11: (_counts(agreement) + _missing(agreement), ""),
        13: (_estimates(agreement), ""),
        15: ("Every pair of every case: pairs.csv; every case: cases.csv; all estimates: agreement.json.", ""),
    }


def claim_answers(agreement: Agreement) -> Answers:
    """For CLAIM's 42 items; what is absent here only the author knows."""
    metric, checks = judged_metric(agreement), _checks(agreement)
    found: Answers = {
        4: (_hypothesis(agreement), "the clinical aim"),
        13: (
            "A case or structure that a reader did not read is missing, never empty, and leaves the pairs of that "
            f"reader.{_missing(agreement)}",
            "why readings are missing" if _missing(agreement) else "",
        ),
        14: (
            "No fused reference: the model is compared with every reader, and readers with each other."
            + _truth(agreement),
            "",
        ),
        15: (
            "A consensus that a reader helped to make favours that reader and hides how much readers differ.",
            "",
        ),
        16: (f"{plain(len(agreement['design']['raters']))} readers.", "their training and experience"),
        18: (f"Between readers: {_human(agreement)}", "variability within readers, if it was measured"),
        19: (_counts(agreement) + _planning(agreement), "why so many"),
        23: (f"Of the evaluation: {_versions(agreement)}.", "of the model"),
        28: (f"{_metric_names(agreement)}. {metric_rule(agreement, metric)}", ""),
        29: (" ".join(methods(agreement, metric)), ""),
        33: (_counts(agreement) + _missing(agreement), "patients who were asked for and left out before"),
        35: (_estimates(agreement), "in training and validation data"),
        36: (_estimates(agreement), ""),
        37: ("The cases in which the model is farthest from the readers are listed and shown in the report.", ""),
        41: (_plan(agreement), "where the protocol can be read"),
    }
    if split := agreement.get("config", {}).get("split"):
        found[20] = (f"Judged on the split '{split}'.", "how it was made")
    if checks:
        found[30] = (f"{checks[0].upper()}{checks[1:]}.", "")
    return found


def _structures(agreement: Agreement) -> str:
    names = [structure(label) for label in agreement["labels"]]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _metric_names(agreement: Agreement) -> str:
    names = [
        metric_name(metric) + (f" at {tolerance(agreement)}" if metric == "nsd" else "")
        for metric in metrics(agreement)
    ]
    return ", ".join(names) or "no metric"


def _counts(agreement: Agreement) -> str:
    design = agreement["design"]
    number = len(design["models"])
    models = f", {number} model{'s' if number > 1 else ''}" if number else ""
    return f"{design['n_cases']} cases of {design['n_patients']} patients, {len(design['raters'])} readers{models}."


def _missing(agreement: Agreement) -> str:
    absent = {name: count for name, count in agreement["design"].get("missing", {}).items() if count}
    return (
        " Cases without a reading: " + "; ".join(f"{n} {count}" for n, count in absent.items()) + "." if absent else ""
    )


def _planning(agreement: Agreement) -> str:
    wanted = [
        f"{structure(label)} {plain(found['planning']['n_for_80pct'])}"
        for label, entry in agreement["labels"].items()
        for found in entry.get("models", {}).values()
        if (found.get("planning") or {}).get("n_for_80pct") is not None
    ]
    return f" Patients for 80 % power at the margin, from the spread that was seen: {_first(wanted)}" if wanted else ""


def _independence(agreement: Agreement) -> str:
    copies = [text for text in agreement.get("warnings", []) if "not independent" in text]
    return " ".join(copies) if copies else "No two readings are equal voxel by voxel often enough to be warned of."


def _estimates(agreement: Agreement) -> str:
    metric = judged_metric(agreement)
    lines = [
        f"{structure(label)}: D of {metric_name(metric)} {estimate(entry, signed=True)}"
        + (f", {entry['class']}" if entry.get("class") else "")
        for label, _, entry in differences(agreement, metric)
    ]
    return _first(lines) if lines else _human(agreement)


def _human(agreement: Agreement) -> str:
    metric = judged_metric(agreement)
    return _first(
        f"{structure(label)}: {metric_name(metric)} {estimate(entry.get('human_human', {}).get(metric, {}))}"
        for label, entry in agreement["labels"].items()
    )


def _first(lines: Iterable[str]) -> str:
    found = list(lines)
    more = f"; {len(found) - SHOWN} more in the tables" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more + "."


def _hypothesis(agreement: Agreement) -> str:
    metric = judged_metric(agreement)
    margins = {margin for _, _, entry in differences(agreement, metric) if (margin := finite(entry.get("margin")))}
    if not margins:
        return "Descriptive: no margin was given."
    stated = " or ".join(plain(margin) for margin in sorted(margins))
    return f"The model agrees with a reader as readers do with each other, within {stated} in {metric_name(metric)}."


def _plan(agreement: Agreement) -> str:
    source = agreement.get("config", {}).get("margin")
    return f"Margin: {source}." if isinstance(source, str) else "No margin was given."


def _truth(agreement: Agreement) -> str:
    known = any(entry.get("truth") for entry in agreement["labels"].values())
    return " Readers and model are also held against an external truth." if known else ""


def _checks(agreement: Agreement) -> str:
    blocks: list[Mapping[str, Any]] = []
    for entry in agreement["labels"].values():
        blocks += [entry, *entry.get("models", {}).values()]
    return "; ".join(text for key, text in CHECKS.items() if any(block.get(key) for block in blocks))


def _versions(agreement: Agreement) -> str:
    versions = agreement.get("provenance", {}).get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"
