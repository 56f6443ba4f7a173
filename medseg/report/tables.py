"""The tables of the agreement page, made from the dictionary that `agreement.json` holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.evaluation import verdict
from medseg.evaluation.metrics import METRICS
from medseg.report.wording import (
    finite,
    interval,
    is_distance,
    metric_name,
    number,
    plain,
)

Agreement = Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file beside the report.

    Args:
        text: what is shown.
        href: path from the report's folder.
    """

    text: str
    href: str


Cell = str | float | Link | None


@dataclass(frozen=True)
class Table:
    """A table to print: numbers are formatted, None is printed as `not defined`; `note` stands below."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def judged_metric(agreement: Agreement) -> str:
    """The metric that the verdict rests on: `config.metric`, or Dice."""
    return str(agreement.get("config", {}).get("metric", "dice"))


def metrics(agreement: Agreement) -> list[str]:
    """Every metric of the file, the judged one first."""
    judged = judged_metric(agreement)
    found: dict[str, None] = {}
    for entry in agreement["labels"].values():
        found |= dict.fromkeys(entry.get("human_human", {}))
        for model in entry.get("models", {}).values():
            found |= dict.fromkeys(model.get("model_human", {}))
    return sorted(found, key=lambda metric: metric != judged)


def differences(agreement: Agreement, metric: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Label, model and the paired difference D with what belongs to it; empty where it was not computed."""
    for label, entry in agreement["labels"].items():
        for model, found in entry.get("models", {}).items():
            yield label, model, found.get("difference", {}).get(metric, {})


def margin_share(agreement: Agreement, label: str, metric: str, margin: float | None) -> float | None:
    """The margin as a share of human disagreement: of `1 - mean` for scores, of the mean itself for distances."""
    mean = finite(agreement["labels"][label].get("human_human", {}).get(metric, {}).get("mean"))
    if mean is None or margin is None:
        return None
    share = verdict.margin_share(margin, mean, metric)
    return share if math.isfinite(share) else None


def design(agreement: Agreement) -> Table:
    """Who read how many cases."""
    plan = agreement["design"]
    missing, n_cases = plan.get("missing", {}), plan["n_cases"]
    rows = [
        [name, role, n_cases - missing.get(name, 0), missing.get(name, 0)]
        for role, names in (("reader", plan["raters"]), ("model", plan["models"]))
        for name in names
    ]
    note = (
        f"{n_cases} cases of {plan['n_patients']} patients. A case that a reader did not read is missing; "
        "it is never counted as an empty outline."
    )
    if plan.get("anonymous"):
        note += " Readers are anonymous: a name may stand for different people, so nothing is shown per reader."
    return Table("Who read what", ("name", "role", "cases read", "missing"), rows, note)


def marked_cases(agreement: Agreement) -> Table | None:
    """In how many cases somebody marked each structure; None where the file does not say."""
    rows = [
        [label, entry["cases"]["marked"], entry["cases"]["nobody_marked"]]
        for label, entry in agreement["labels"].items()
        if entry.get("cases")
    ]
    columns = ("label", "cases in which somebody marked it", "cases left out because nobody did")
    return Table("Structures", columns, rows) if rows else None


def agreement_table(agreement: Agreement, metric: str) -> Table:
    """Human-human against model-human for one metric, a row per label and model."""
    rows: list[list[Cell]] = []
    for label, entry in agreement["labels"].items():
        mean, *spread = _summary(entry.get("human_human", {}).get(metric, {}), metric)
        rows.append([label, "readers with readers", mean, "", "", "", *spread, ""])
        for model, found in entry.get("models", {}).items():
            mean, *spread = _summary(found.get("model_human", {}).get(metric, {}), metric)
            gap = found.get("difference", {}).get(metric, {})
            judged = "" if metric != judged_metric(agreement) else gap.get("class") or ""
            judgement = [_difference(gap), _margin(agreement, label, metric, gap), judged]
            rows.append([label, f"{model} with readers", mean, *judgement, *spread, _needed(gap)])
    tail = "95th percentile" if is_distance(metric) else "5th percentile"
    columns = ("label", "pairs", "mean (95 % CI)", "difference D (95 % CI)", "margin (share)", "class",
               "median", tail, "n", "n for 80 % power")  # fmt: skip
    unused = [place for place in (3, 4, 5, 9) if not any(row[place] for row in rows)]
    kept = [place for place in range(len(columns)) if place not in unused]
    note = metric_rule(agreement, metric)
    if 4 in kept:
        note += " Share: the margin as a part of the disagreement among readers; above 50 % the margin is generous."
    return Table(metric_name(metric), tuple(columns[i] for i in kept), [[row[i] for i in kept] for row in rows], note)


def _summary(entry: Mapping[str, Any], metric: str) -> list[Cell]:
    """Mean with interval, median, percentile of the bad tail and n."""
    n = entry.get("n") or 0
    if finite(entry.get("mean")) is None:
        return [number(None, n=n), "", "", plain(n)]
    mean = f"{number(entry['mean'])} ({interval(entry.get('ci95'))})"
    return [mean, number(entry.get("median")), number(entry.get("p95" if is_distance(metric) else "p5")), plain(n)]


def _difference(entry: Mapping[str, Any]) -> str:
    mean = finite(entry.get("mean"))
    return number(None) if mean is None else f"{number(mean, signed=True)} ({interval(entry.get('ci95'), signed=True)})"


def _margin(agreement: Agreement, label: str, metric: str, entry: Mapping[str, Any]) -> str:
    margin = finite(entry.get("margin"))
    if margin is None:
        return ""
    share = margin_share(agreement, label, metric, margin)
    return number(margin) + ("" if share is None else f" ({share * 100:.0f} %)")


def _needed(entry: Mapping[str, Any]) -> str:
    return "" if entry.get("n_for_80pct") is None else plain(entry["n_for_80pct"])


def metric_rule(agreement: Agreement, metric: str) -> str:
    """One sentence on how the metric is defined and what is done with empty outlines."""
    config = agreement.get("config", {})
    rule = "Lower is better." if is_distance(metric) else "Higher is better."
    if agreement["design"]["models"]:
        order = "human-human minus model-human" if is_distance(metric) else "model-human minus human-human"
        rule += f" D is {order}, so that positive favours the model."
    if metric in METRICS:
        rule += f" Empty outlines: {METRICS[metric].empty_rule}."
    if metric == "hd95":
        rule += f" Percentile rule: {config.get('percentile_rule', 'not stated')}."
    if metric == "nsd":
        rule += f" Tolerance: {tolerance(agreement)}; surface: {config.get('surface', 'not stated')}."
    return rule


def tolerance(agreement: Agreement) -> str:
    """NSD's tolerance in words: one number where all labels share it."""
    stated = agreement.get("config", {}).get("tolerance_mm", "not stated")
    values = set(stated.values()) if isinstance(stated, Mapping) else {stated}
    return f"{plain(values.pop())} mm" if len(values) == 1 else f"{plain(stated)} mm"
