"""Tables of what was measured beside overlap and surface: size, volume, lesions, distribution, probabilities."""

from __future__ import annotations

from medseg.report.block_cells import (
    Entry,
    Rows,
    label_blocks,
    mean_of,
    model_blocks,
    rules_text,
    table_of,
    volume_blocks,
)
from medseg.report.tables import Agreement, Table
from medseg.report.wording import estimate, finite, interval, number, phrase, plain


def measure_tables(agreement: Agreement) -> list[Table | None]:
    """The tables of this module, in the order of the page; None for a block that the file does not hold."""
    return [
        bias(agreement),
        limits(agreement),
        reliability(agreement),
        lesions(agreement),
        lesion_sizes(agreement),
        distribution(agreement),
        probabilities(agreement),
    ]


def bias(agreement: Agreement) -> Table | None:
    """Signed surface distance beside the readers' own range; None if absent."""
    rows: Rows = []
    notes = set()
    for label, model, entry in model_blocks(agreement, "signed_surface_distance"):
        mean = estimate({"mean": entry["mean_mm"], "ci95": entry["ci95_mm"]}, signed=True)
        rows.append([label, model, mean, interval(entry["readers_range_mm"], signed=True),
                     plain(entry["outside_readers_range"]), plain(entry["n"])])  # fmt: skip
        notes.add(entry["rule"])
    columns = (
        "label",
        "model",
        "model minus readers (mm)",
        "range of the readers (mm)",
        "outside the range",
        "n cases",
    )
    return table_of("Drawn larger or smaller: signed surface distance", columns, rows, rules_text(notes))


def limits(agreement: Agreement) -> Table | None:
    """Bland-Altman limits with their intervals, in ml and as ratios; None if absent."""
    rows: Rows = []
    notes = set()
    for label, pairs, block in volume_blocks(agreement):
        for key in ("bland_altman", "bland_altman_ratio"):
            bands = block.get(key) or {}
            found = bands.get("readers" if pairs.startswith("reader") else "model")
            if found:
                ends = [f"{number(found[end])} ({interval(found[end + '_ci95'])})" for end in ("lower", "upper")]
                centre = estimate({"mean": found["bias"], "ci95": found["bias_ci95"]})
                rows.append([label, pairs, found["unit"], centre, *ends, plain(found["n_pairs"]),
                             plain(found["n_patients"])])  # fmt: skip
                notes |= {bands["rule"], bands["interval_rule"]}
    columns = ("label", "pairs", "unit", "bias (95 % CI)", "lower limit (95 % CI)", "upper limit (95 % CI)",
               "n pairs", "n patients")  # fmt: skip
    return table_of("Volume: limits of agreement with their intervals", columns, rows, rules_text(notes))


def reliability(agreement: Agreement) -> Table | None:
    """Intraclass correlations and the variation between readers; None if absent."""
    rows: Rows = []
    notes = set()
    for label, entry in label_blocks(agreement, "volume"):
        found = entry.get("reliability")
        if not found:
            continue
        table = found.get("icc") or {}
        forms = [_form(table.get("forms", {}).get(form)) for form in ("icc11", "icc21", "icc31")]
        variation = found["between_readers"]
        rows.append([label, *forms, estimate({"mean": variation["value"], "ci95": variation["ci95"]}),
                     plain(table.get("n_cases")), plain(variation["n_patients"])])  # fmt: skip
        notes |= {table.get("rule", ""), table.get("interval_rule", ""), variation["rule"]}
    columns = ("label", "ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "coefficient of variation", "n cases of the ICC",
               "n patients")  # fmt: skip
    return table_of("Volume: reliability of the readers", columns, rows, rules_text(notes))


def _form(entry: Entry | None) -> str:
    return "" if entry is None else estimate(entry)


def lesions(agreement: Agreement) -> Table | None:
    """Detection of lesions; None if not asked for."""
    rows: Rows = []
    notes = set()
    for label, model, entry in [
        *model_blocks(agreement, "lesions"),
        *((a, "", b) for a, b in label_blocks(agreement, "lesions")),
    ]:
        for measure, found in entry["measures"].items():
            rows.append([label, model, phrase(measure), mean_of(found["human_human"]), mean_of(found["model_human"]),
                         mean_of(found["difference"], signed=True), plain(found["n_cases"])])  # fmt: skip
        notes.add(entry["rule"])
    columns = ("label", "model", "measure", "reader with reader", "model with reader", "difference D (95 % CI)",
               "n cases")  # fmt: skip
    return table_of("Lesions", columns, rows, rules_text(notes))


def lesion_sizes(agreement: Agreement) -> Table | None:
    """Detection by size of the lesion; None if not asked for."""
    rows: Rows = [
        [label, model, _size(size), plain(size["lesions"]), number(size["model"]), number(size["readers"]),
         interval(size["difference_ci95"], signed=True), number(size["model_false_positives"]),
         number(size["reader_false_positives"]), plain(size["n_patients"])]
        for label, model, entry in model_blocks(agreement, "lesions")
        for size in entry["by_size"]
    ]  # fmt: skip
    columns = ("label", "model", "size (ml)", "lesions", "model finds", "readers find", "difference (95 % CI)",
               "model's false positives per case", "readers' false positives per case", "n patients")  # fmt: skip
    return table_of("Lesions by size", columns, rows, "Every reader is the reference once.")


def _size(entry: Entry) -> str:
    high = finite(entry["high_ml"])
    return f"{entry['low_ml']:g} and more" if high is None else f"{entry['low_ml']:g} to {high:g}"


def distribution(agreement: Agreement) -> Table | None:
    """Energy distance, matched IoU and CRPS; None if absent."""
    rows: Rows = []
    notes = set()
    found = [(label, model, "outline", entry) for label, model, entry in model_blocks(agreement, "distribution")]
    found += [(label, model, "samples", entry) for label, model, entry in model_blocks(agreement, "samples")]
    for label, model, what, entry in found:
        score = entry.get("crps_volume_ml") or {}
        rows.append([label, model, what, mean_of(entry.get("ged2", {})), mean_of(entry.get("hungarian_iou", {})),
                     *(mean_of(score.get(mode, {})) for mode in ("exact", "ensemble")),
                     f"{_number(entry['samples'])} and {_number(entry['readers'])}", plain(entry["n"])])  # fmt: skip
        notes.add(entry["rule"])
    columns = ("label", "model", "what", "GED²", "Hungarian-matched IoU", "CRPS of the volume, normal (ml)",
               "CRPS, readers as they are (ml)", "samples and readers", "n cases")  # fmt: skip
    return table_of("Distribution", columns, rows, rules_text(notes))


def _number(found: object) -> str:
    """How many, or the smallest and largest number."""
    return " to ".join(map(plain, found)) if isinstance(found, list | tuple) else plain(found)


def probabilities(agreement: Agreement) -> Table | None:
    """Calibration and soft overlap of a model's probabilities; None without any."""
    keys = {"ece": "ECE, readers", "ece_soft": "ECE, their share", "brier": "Brier, readers",
            "brier_soft": "Brier, their share", "soft_dice": "soft Dice", "qubiq_dice": "QUBIQ Dice",
            "curvas_dice": "CURVAS Dice", "curvas_confidence": "CURVAS confidence"}  # fmt: skip
    rows: Rows = []
    notes = set()
    for label, model, entry in model_blocks(agreement, "probabilities"):
        rows.append([label, model, *(mean_of(entry[key]) for key in keys), entry["domain"], plain(entry["n"])])
        notes.add(entry["rule"])
    columns = ("label", "model", *keys.values(), "domain", "n cases")
    return table_of("Probabilities", columns, rows, rules_text(notes))
