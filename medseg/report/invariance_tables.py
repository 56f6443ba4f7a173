"""Tables of the invariance page: where curves break, what every structure loses, and how runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.evaluation.dose_response_scores import ALL, RESAMPLING, UNTRANSFORMED
from medseg.report.invariance_wording import against, break_phrase, dose_number, doses_phrase, signed, with_unit
from medseg.report.tables import Cell, Table
from medseg.report.wording import interval, number, plain

Json = Mapping[str, Any]


def break_table(result: Json, model: str) -> Table:
    """For all structures together: where accuracy and equivariance break, and the Dice at the ends."""
    design, found = result["design"], result["results"][model]
    main = design["main_reference"]
    rows: list[list[Cell]] = []
    for name, facts in result["config"]["transforms"].items():
        by_reference = found["breaks"].get(name, {}).get(ALL, {})
        switch = facts["unit"] == "0 or 1"
        for place, side in enumerate(by_reference.get(main, [])):
            own = by_reference.get(UNTRANSFORMED, [])
            end = _point(found, name, main, side["tested_to"])
            word = _direction(facts, side, len(by_reference[main]))
            row: list[Cell] = [
                facts["title"] + word,
                "" if main == UNTRANSFORMED else break_phrase(side, facts["unit"], switch=switch),
                break_phrase(own[place], facts["unit"], switch=switch) if own else "",
                with_unit(side["tested_to"], facts["unit"]) if not switch else "flipped",
                _mean(end),
                number(_point(found, name, RESAMPLING, side["tested_to"]).get("mean"))
                if _point(found, name, RESAMPLING, side["tested_to"]) else "",
                plain(side["n_patients"]),
            ]  # fmt: skip
            rows.append(row)
    margin = dose_number(result["config"]["margin"])
    columns = ("transform", f"Dice with {against(main)} breaks at", "Dice with its own prediction breaks at",
               "largest dose", "Dice there (95 % CI)", "resampling alone", "n patients")  # fmt: skip
    kept = [k for k in range(len(columns)) if k != 1 or main != UNTRANSFORMED]
    settings = result["config"]["transforms"]
    points = (_point(found, name, main, facts["identity"]) for name, facts in settings.items())
    unchanged = _mean(next(filter(None, points), {}))
    note = (f"Breaks: the mean drop from the unchanged input exceeds {margin}, interpolated between the tested doses. "
            f"Unchanged input: {unchanged}. Mean over structures, then over patients.")  # fmt: skip
    return Table(
        f"Thresholds of {model}", tuple(columns[k] for k in kept), [[row[k] for k in kept] for row in rows], note
    )


def structure_table(result: Json, model: str) -> Table | None:
    """For each structure and transform where its Dice breaks; None where there is one structure only."""
    labels = result["design"]["labels"]
    if len(labels) < 2:
        return None
    main, found = result["design"]["main_reference"], result["results"][model]["breaks"]
    rows: list[list[Cell]] = []
    for name, facts in result["config"]["transforms"].items():
        sides = found.get(name, {}).get(ALL, {}).get(main, [])
        for place, side in enumerate(sides):
            row: list[Cell] = [facts["title"] + _direction(facts, side, len(sides))]
            for label in labels:
                entries = found.get(name, {}).get(label, {}).get(main, [])
                row.append(_short_break(entries[place], facts) if place < len(entries) else "not counted")
            rows.append(row)
    note = f"Dose at which the structure's mean Dice with {against(main)} breaks; – : not within the tested doses."
    return Table("Structures", ("transform", *labels), rows, note)


def dose_table(result: Json, model: str) -> Table:
    """All structures together at every dose: Dice with each reference."""
    found = result["results"][model]["curves"]
    references = [name for name in result["design"]["references"] if name != RESAMPLING]
    rows: list[list[Cell]] = []
    for name, facts in result["config"]["transforms"].items():
        for dose in facts["doses"]:
            points = [_point(result["results"][model], name, reference, dose) for reference in references]
            counts = [point["n_patients"] for point in points if point]
            rows.append([facts["title"], with_unit(dose, facts["unit"]), *(_mean(point) for point in points),
                         plain(max(counts, default=0))])  # fmt: skip
    titles = tuple("own prediction" if name == UNTRANSFORMED else name for name in references)
    note = "" if found else "Nothing was counted."
    return Table("Dice at every dose", ("transform", "dose", *titles, "n patients"), rows, note)


def versus_table(result: Json, other: str) -> Table:
    """The first model minus another one, over the doses of every transform."""
    main, first = result["design"]["main_reference"], result["models"][0]
    rows: list[list[Cell]] = []
    for name, labels in result["versus"][other].items():
        facts = result["config"]["transforms"][name]
        entry = labels[ALL]
        points = entry[main]["doses"]
        away = [point for point in points if point["dose"] != facts["identity"] and point["difference"] is not None]
        widest = max(away, key=lambda point: abs(point["difference"]), default=None)
        mean = entry[main].get("mean_over_doses", {})
        rows.append([
            facts["title"],
            number(mean.get("ours")),
            number(mean.get("theirs")),
            signed(mean),
            signed(entry[UNTRANSFORMED].get("mean_over_doses")) if UNTRANSFORMED in entry else "",
            "" if widest is None else f"{signed(widest)} at {with_unit(widest['dose'], facts['unit'])}",
            plain(mean.get("n_patients", 0)),
        ])  # fmt: skip
    columns = ("transform", first, other, "difference (95 % CI)", "difference of Dice with the own prediction",
               "largest difference at a dose", "n patients")  # fmt: skip
    note = (f"Mean Dice with {against(main)} over the tested doses, the unchanged input left out; differences are "
            f"{first} minus {other} on the same patients, so that positive favours {first}. The intervals are not "
            "corrected for the number of transforms.")  # fmt: skip
    return Table(f"{first} against {other}", columns, rows, note)


def transform_table(result: Json) -> Table:
    """What every transform does, and its doses."""
    rows: list[list[Cell]] = [
        [facts["title"], "" if facts["unit"] == "0 or 1" else doses_phrase(facts), facts["meaning"]]
        for facts in result["config"]["transforms"].values()
    ]
    return Table("Transforms", ("transform", "doses", "what is done"), rows)


def _point(found: Json, transform: str, reference: str, dose: float) -> Json:
    points = found["curves"].get(transform, {}).get(ALL, {}).get(reference, [])
    return next((point for point in points if point["dose"] == dose), {})


def _mean(point: Json) -> str:
    if not point or point.get("mean") is None:
        return number(None)
    return number(point["mean"]) + (f" ({interval(point['ci95'])})" if point.get("ci95") else "")


def _direction(facts: Json, side: Json, count: int) -> str:
    if count < 2:
        return ""
    return ", smaller" if side["side"] == "below" else ", larger"


def _short_break(side: Json, facts: Json) -> str:
    if facts["unit"] == "0 or 1":
        return "–" if side["at"] is None else "breaks"
    return "–" if side["at"] is None else dose_number(side["at"])
