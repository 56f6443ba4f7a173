"""Words around the tables: the key facts, the methods paragraphs and the provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.report.tables import Cell, Table, differences, tolerance
from medseg.report.wording import finite, flat, metric_name, number, plain

Agreement = Mapping[str, Any]

METHODS = {"bca": "BCa", "bootstrap-t": "studentised bootstrap"}
_PAIRED = (
    "For every case the mean score over all pairs of one model outline and one reader is compared with the mean over "
    "all pairs of two readers. No consensus is needed, so no reader is compared with something that the same reader "
    "helped to make. The difference D of the two means is averaged over patients and signed so that positive favours "
    "the model.",
    "Classes follow from the 95 % interval of D and the margin. They show agreement within a margin with these "
    "readers; they do not show correctness, and no class says that a model is better than a reader.",
)


def facts(agreement: Agreement, metric: str) -> list[tuple[str, str]]:
    """Names and values of the few numbers that one looks for first."""
    plan = agreement["design"]
    found = [
        ("cases", plain(plan["n_cases"])),
        ("patients", plain(plan["n_patients"])),
        ("readers", plain(len(plan["raters"]))),
        ("structures", plain(len(agreement["labels"]))),
    ]
    if plan["models"]:
        margins = sorted({m for _, _, entry in differences(agreement, metric) if (m := finite(entry.get("margin")))})
        found += [
            ("model" if len(plan["models"]) == 1 else "models", ", ".join(plan["models"])),
            ("judged by", metric_name(metric)),
            ("margin", " or ".join(number(margin) for margin in margins) or "none given"),
        ]
    if metric == "nsd":
        found.append(("tolerance", tolerance(agreement)))
    return found


def methods(agreement: Agreement, metric: str) -> list[str]:
    """The methods paragraphs, for the settings of this run."""
    config = agreement.get("config", {})
    boot = config.get("bootstrap", {})
    text = [
        "A structure that one of two outlines lacks counts as a miss or a false positive (score 0, distance infinite); "
        "a case in which nobody marked the structure is left out and counted. A case that a reader did not read is "
        "missing, not empty."
    ]
    if boot:
        rules = sorted(
            {
                METHODS.get(entry["method"], str(entry["method"]))
                for _, _, entry in differences(agreement, metric)
                if entry.get("method")
            }
        )
        text.append(
            f"Intervals: two-sided 95 %, {plain(boot.get('draws'))} bootstrap draws of the "
            f"{boot.get('cluster', 'patient')}, seed {plain(boot.get('seed'))}"
            + (f"; method for D: {', '.join(rules)}." if rules else ".")
            + (f" Rule: {config['interval_rule']}." if config.get("interval_rule") else "")
        )
    return [*_PAIRED, *text] if agreement["design"]["models"] else text


def provenance_tables(agreement: Agreement) -> list[Table]:
    """Settings, versions and hashes; many hashes are counted here and listed in `agreement.json`."""
    found = agreement.get("provenance", {})
    rest = {key: value for key, value in found.items() if key not in ("versions", "input_sha256")}
    settings = {key: value for key, value in agreement.get("config", {}).items() if key != "empty_rules"}
    tables = [
        Table("Settings", ("key", "value"), _rows(settings)),
        Table("Versions", ("package", "version"), _rows(found.get("versions", {}))),
        Table("Run", ("key", "value"), _rows(rest)),
        _hashes(found.get("input_sha256")),
    ]
    return [table for table in tables if table.rows]


def _rows(mapping: Mapping[str, Any]) -> list[list[Cell]]:
    return [[key, value] for key, value in flat(mapping).items()]


def _hashes(hashes: object) -> Table:
    title, columns = "Input (SHA-256)", ("input", "hash")
    if isinstance(hashes, Mapping):
        rows: list[list[Cell]] = [[str(name), str(value)] for name, value in list(hashes.items())[:12]]
        more = len(hashes) - len(rows)
        return Table(title, columns, rows, f"{more} more are listed in agreement.json." if more else "")
    return Table(title, columns, [["all files", str(hashes)]] if hashes else [])
