"""Tables beside the main one: presence, single readers, truth, volumes, and whatever else the file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.report.blocks import block_tables
from medseg.report.tables import Agreement, Cell, Link, Table, judged_metric, metrics
from medseg.report.wording import estimate, finite, flat, interval, metric_name, number, plain

Found = list[tuple[list[str], dict[str, str]]]


def detail_tables(
    agreement: Agreement, cases: Sequence[Mapping[str, Any]], viewers: Mapping[str, str] | None = None
) -> list[Table]:
    """All that the file has something for, in the order of the page; the worst cases lead to their `viewers`."""
    williams = "Agreement of the model with readers over agreement among readers; 1: the model is like one more reader."
    same_people = not agreement["design"].get("anonymous")  # else reader A of one case is not reader A of the next
    found = [
        presence(agreement),
        reader_presence(agreement) if same_people else None,
        delineation(agreement),
        leave_one_out(agreement) if same_people else None,
        truth(agreement),
        volume(agreement),
        by_model(agreement, "williams", "Williams index", williams),
        *block_tables(agreement),
        worst_cases(cases, judged_metric(agreement), viewers=viewers),
    ]
    return [table for table in found if table is not None]


def reading_patterns(pairs: Sequence[Mapping[str, Any]]) -> Table | None:
    """How many cases were read by which set of readers and models, the most frequent first; None without pairs."""
    readers: dict[str, set[str]] = {}
    for row in pairs:
        found = readers.setdefault(str(row["case"]), set())
        found |= {str(row[side]) for side in ("a", "b") if finite(row.get(f"volume_{side}_ml")) is not None}
    counts = Counter(", ".join(sorted(names)) or "nobody" for names in readers.values())
    rows = [[names, count] for names, count in counts.most_common()]
    return Table("Who read the same cases", ("readers and models", "cases"), rows) if rows else None


def worst_cases(
    cases: Sequence[Mapping[str, Any]], metric: str, count: int = 10, viewers: Mapping[str, str] | None = None
) -> Table | None:
    """The cases with the lowest D of one metric; None when D is defined nowhere.

    Args:
        viewers: case to its viewer page, where it has one.
    """
    pages = viewers or {}
    known = [row for row in cases if row["metric"] == metric and finite(row["difference"]) is not None]
    known = sorted(known, key=lambda row: row["difference"])[:count]
    several = any("model" in row for row in known)
    rows: list[list[Cell]] = [
        [
            Link(str(row["case"]), pages[row["case"]]) if row["case"] in pages else row["case"],
            row["label"],
            *([row.get("model", "")] if several else []),
            number(row["human_human"]),
            number(row["model_human"]),
            number(row["difference"], signed=True),
        ]
        for row in known
    ]
    columns = ("case", "label", *(["model"] if several else []), "reader with reader", "model with reader", "D")
    title = f"Where the model is farthest from the readers: lowest D of {metric_name(metric)}"
    note = "Every case has one value, so there is no interval. Where a case is underlined, it opens in three planes."
    return Table(title, tuple(columns), rows, note if pages else note.partition(". ")[0] + ".") if rows else None


def presence(agreement: Agreement) -> Table | None:
    """Findings that a model missed and false positives, with how much worse than a reader it may be; None if absent."""
    rows, rules = [], []
    for label, model, block in _blocks(agreement, "presence"):
        counts = [plain(block.get(key)) for key in ("findings", "missed", "absent", "false_positives")]
        guards = [_guard(block.get(key) or {}) for key in ("miss_rate", "false_positive_rate")]
        rows.append([label, model, *counts, *guards])
        margin = finite(block.get("guard_margin"))
        rules.append(f"Rates: {block['rule']}." if block.get("rule") else "")
        rules.append("" if margin is None else f"An upper bound above {margin * 100:.0f} % lowers the class one step.")
    columns = (
        "label",
        "model",
        "findings",
        "missed",
        "cases without",
        "false positives",
        "miss rate",
        "false-positive rate",
    )
    note = "A finding: marked by at least two readers, or by the only one. " + " ".join(dict.fromkeys(rules))
    return Table("Presence and absence", columns, rows, note.strip()) if rows else None


def _guard(entry: Mapping[str, Any]) -> str:
    if finite(entry.get("model")) is None:
        return f"not defined (n = {entry.get('patients') or 0})"
    text = f"{number(entry['model'])}, reader {number(entry.get('readers'))}"
    return (
        text + f"; difference up to {number(entry.get('upper_bound'), signed=True)}, n = {plain(entry.get('patients'))}"
    )


def reader_presence(agreement: Agreement) -> Table | None:
    """What each reader marked, missed and added against the other readers; None if absent."""
    rows = [
        [label, reader, *(plain(counts.get(key)) for key in ("read", "marked", "missed", "false_positives"))]
        for label, entry in agreement["labels"].items()
        for reader, counts in (entry.get("presence") or {}).items()
    ]
    columns = ("label", "reader", "cases read", "marked", "missed", "false positives")
    note = "Against the other readers: present when at least half of them marked it."
    return Table("Presence, every reader against the others", columns, rows, note) if rows else None


def delineation(agreement: Agreement) -> Table | None:
    """D over the cases that everyone marked; None if absent."""
    found = [([label, model], _estimates(block)) for label, model, block in _blocks(agreement, "delineation")]
    note = "Misses and false positives are left out here, so this is about outlines alone."
    return _wide("Difference D over the cases that everyone marked", ("label", "model"), found, note)


def _estimates(block: Mapping[str, Any]) -> dict[str, str]:
    return {metric_name(metric): estimate(entry, signed=True) for metric, entry in block.items()}


def leave_one_out(agreement: Agreement) -> Table | None:
    """Every reader and the model against the majority of the other readers, in the judged metric; None if absent."""
    metric = judged_metric(agreement)
    rows: list[list[Cell]] = []
    for label, entry in agreement["labels"].items():
        for model, readers in _left_out_by(agreement, entry):
            for reader, scores in readers.items():
                found = scores.get(metric, {})
                n = found.get("n") or 0
                means = [_left_out(found, key, n) for key in ("rater", "model", "difference")]
                rows.append([label, model, reader, *means, plain(n)])
    columns = ("label", "model", "reader left out", "reader with the others (95 % CI)",
               "model with the others (95 % CI)", "difference (95 % CI)", "n cases")  # fmt: skip
    note = f"{metric_name(metric)} against what the majority of the other readers drew"
    if agreement["design"]["models"]:
        note += ": both meet the same reference. Positive favours the model."
    else:
        kept = (0, 2, 3, 6)
        columns, note = tuple(columns[k] for k in kept), note + "."
        rows = [[row[k] for k in kept] for row in rows]
    return Table("Leave one reader out", columns, rows, note) if rows else None


def _left_out_by(agreement: Agreement, entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The block of each model; of several models each has one of its own."""
    own = [(model, found["leave_one_out"]) for model, found in entry.get("models", {}).items()
           if found.get("leave_one_out")]  # fmt: skip
    only = next(iter(agreement["design"]["models"]), "")
    return own or [(only, entry.get("leave_one_out") or {})]


def _left_out(found: Mapping[str, Any], key: str, n: int) -> str:
    if finite(found.get(key)) is None:
        return number(None, n=n)
    return estimate({"mean": found[key], "ci95": found.get(f"{key}_ci95")}, signed=key == "difference")


def truth(agreement: Agreement) -> Table | None:
    """Every reader and model against an external truth; None where the data hold none."""
    rows = [
        [label, name, *(estimate(scores.get(metric, {})) for metric in metrics(agreement))]
        for label, entry in agreement["labels"].items()
        for name, scores in (entry.get("truth") or {}).items()
    ]
    columns = ("label", "name", *(metric_name(metric) for metric in metrics(agreement)))
    note = "Mean over patients with its 95 % interval and the number of cases."
    return Table("Against the external truth", columns, rows, note) if rows else None


def volume(agreement: Agreement) -> Table | None:
    """Bias and limits of agreement of volumes, readers and models; None if absent."""
    rows: list[list[Cell]] = []
    for label, entry in agreement["labels"].items():
        blocks = [("reader − reader", entry.get("volume"))]
        blocks += [(f"{model} − reader", found.get("volume")) for model, found in entry.get("models", {}).items()]
        for pairs, block in blocks:
            if block:
                bias, spread = number(block.get("bias_ml"), signed=True), number(block.get("sd_ml"))
                limits = interval(block.get("limits_ml"), signed=True)
                rows.append([label, pairs, bias, limits, spread, plain(block.get("n"))])
    columns = ("label", "pairs", "bias (ml)", "limits of agreement (ml)", "SD (ml)", "n differences")
    note = (
        "Single readers, over pairs that both marked; two readers have no order: both differences count, the bias is 0."
    )
    return Table("Volume", columns, rows, note) if rows else None


def by_model(agreement: Agreement, key: str, title: str, note: str = "") -> Table | None:
    """Any block of every label and model, a row each and a column per value; None if absent."""
    found = [([label, model], flat(block)) for label, model, block in _blocks(agreement, key)]
    return _wide(title, ("label", "model"), found, note)


def _blocks(agreement: Agreement, key: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (label, model, found[key])
        for label, entry in agreement["labels"].items()
        for model, found in entry.get("models", {}).items()
        if found.get(key)
    ]


def _wide(title: str, keys: tuple[str, ...], found: Found, note: str) -> Table | None:
    """A column for every value that is there; None when there is none."""
    columns = list(dict.fromkeys(name for _, values in found for name in values))
    rows = [[*head, *(values.get(name, "") for name in columns)] for head, values in found if values]
    return Table(title, (*keys, *columns), rows, note) if rows else None
