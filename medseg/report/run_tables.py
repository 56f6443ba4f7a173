"""The tables of a training's page, made from the rows of its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from medseg.report.tables import Cell, Table
from medseg.report.wording import finite, number

Row = Mapping[str, Any]
MOST_CASES = 12
MISSING = "not marked"


def structure_table(rows: Sequence[Row], structures: Sequence[str]) -> Table | None:
    """Dice of every structure in the best and in the last validation, and its worst case; None without a validation."""
    validations = [row for row in rows if isinstance(row.get("validation_dice"), Mapping)]
    if not validations:
        return None
    best, last = max(validations, key=lambda row: row["mean_dice"]), validations[-1]
    names = list(dict.fromkeys([*structures, *last["validation_dice"]]))
    found: list[list[Cell]] = [_structure_row(name, best, last) for name in names]
    if len(names) > 1:
        found.append(["mean over structures", best["mean_dice"], last["mean_dice"], "", ""])
    columns = ("structure", f"Dice, best (step {best['step']})", f"Dice, last (step {last['step']})",
               "validation cases", "worst case, last")  # fmt: skip
    note = (
        "Mean over the validation cases against the readers' majority, on the plan's grid. A case in which neither the "
        "majority nor the network marked a structure does not count for it."
    )
    return Table("Structures", columns, found, note)


def _structure_row(name: str, best: Row, last: Row) -> list[Cell]:
    scores = {case: dice[name] for case, dice in (last.get("cases") or {}).items() if name in dice}
    worst = min(scores, key=lambda case: scores[case], default=None)
    told = "" if worst is None else f"{worst}: {number(scores[worst])}"
    values = [_dice(row["validation_dice"].get(name)) for row in (best, last)]
    return [name, *values, len(scores) if last.get("cases") else "not known", told]


def _dice(value: object) -> Cell:
    known = finite(value)
    return MISSING if known is None else known


def case_table(rows: Sequence[Row]) -> Table | None:
    """The validation cases of lowest mean Dice in the last validation; None where the log does not hold cases."""
    validations = [row for row in rows if row.get("cases")]
    if not validations:
        return None
    last = validations[-1]
    means = {case: sum(dice.values()) / len(dice) for case, dice in last["cases"].items() if dice}
    worst = sorted(means, key=lambda case: means[case])[:MOST_CASES]
    found: list[list[Cell]] = [[case, means[case], *_lowest(last["cases"][case])] for case in worst]
    note = f"The lowest {len(found)} of {len(last['cases'])} validation cases" if len(means) > len(found) else ""
    columns = ("case", "mean Dice", "worst structure", "its Dice")
    return Table(f"Worst validation cases, step {last['step']}", columns, found, note and f"{note}.")


def _lowest(dice: Mapping[str, float]) -> list[Cell]:
    name = min(dice, key=lambda each: dice[each])
    return [name, dice[name]]


def fold_table(folds: Sequence[int], fold: int | str) -> Table:
    """How many cases each fold has, and what it was used for."""
    rows: list[list[Cell]] = [
        [str(place), count, "validation" if place == fold else "training"] for place, count in enumerate(folds)
    ]
    note = "Folds are drawn by patient or group; folds.json holds them." if fold != "all" else "No case is held out."
    return Table("Data", ("fold", "cases", "used for"), rows, note)


def time_table(rows: Sequence[Row], seconds: float, batch: int) -> Table:
    """Where the time went."""
    told = [row for row in rows if "loss" in row]
    speeds = [value for row in told if (value := finite(row.get("patches_per_second")))]
    waits = [value for row in told if (value := finite(row.get("wait_share"))) is not None]
    logged = sum(finite(row.get("seconds")) or 0.0 for row in told)
    found: list[list[Cell]] = [["training in all", f"{seconds:.1f} s"], ["steps in the log", f"{logged:.1f} s"]]
    if speeds:
        middle = median(speeds)
        found += [["patches per second, median", middle], ["time per step, median", f"{batch / middle:.3g} s"]]
    if waits:
        found.append(["waiting for data, median share of a step", f"{median(waits) * 100:.0f}\u00a0%"])
    note = "Training in all holds what was lost and done again after a kill, and the last validation."
    return Table("Time", ("what", "how much"), found, note)
