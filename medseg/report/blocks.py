"""Tables of what stands beside the difference D: other tests, checks, lesions, truth, strata; one function a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medseg.report.tables import Agreement, Cell, Table, judged_metric
from medseg.report.wording import estimate, finite, interval, metric_name, number, phrase, plain

Entry = Mapping[str, Any]
Rows = list[list[Cell]]


def block_tables(agreement: Agreement) -> list[Table]:
    """All blocks that the file holds, in the order of the page."""
    found = (
        ranking(agreement),
        null_control(agreement),
        degrade(agreement),
        truth_check(agreement),
        sensitivity(agreement),
        without_reader(agreement),
        alt_test(agreement),
        bias(agreement),
        limits(agreement),
        reliability(agreement),
        lesions(agreement),
        lesion_sizes(agreement),
        distribution(agreement),
        probabilities(agreement),
        chance_corrected(agreement),
        staple(agreement),
        intra_reader(agreement),
        strata(agreement),
        tolerances(agreement),
    )
    return [table for table in found if table is not None]


def ranking(agreement: Agreement) -> Table | None:
    """Several models from best to worst with the paired differences to the next; None for one model."""
    rows: Rows = []
    block = agreement.get("ranking") or {}
    for label, entry in block.get("labels", {}).items():
        for model in entry["models"]:
            best, worst = model["places"]
            rows.append([label, str(model["place"]), model["model"], _mean(model["difference"], signed=True),
                         f"{best} to {worst}", "", plain(entry["n"])])  # fmt: skip
        for pair in entry["pairs"]:
            versus = f"{pair['model']} minus {pair['other']}"
            rows.append([label, "", versus, _mean(pair["difference"], signed=True), "",
                         _p(pair["p_holm"]), plain(entry["n"])])  # fmt: skip
    columns = ("label", "place", "model or pair", "D or its difference (95 % CI)", "places left open",
               "p (Holm)", "n patients")  # fmt: skip
    rules = {entry["rule"] for entry in block.get("labels", {}).values()}
    return _table("Ranking of the models", columns, rows, _rules(rules))


def null_control(agreement: Agreement) -> Table | None:
    """What each reader gets who plays the model; None if not asked for."""
    rows: Rows = []
    rules = set()
    for label, entry in _labels(agreement, "null_control"):
        rules |= {entry.get("rule") or f"{label}: {entry.get('reason', '')}"}
        for reader, found in entry["readers"].items():
            rows.append([label, reader, _mean(found["difference"], signed=True), _williams(found), found["class"],
                         plain(found["difference"]["n"])])  # fmt: skip
    columns = ("label", "reader as the model", "difference D (95 % CI)", "Williams (95 % CI)", "class", "n")
    if not rows and rules:
        return Table("Null control", ("", "why there is none"), [["", rule] for rule in sorted(rules)])
    return _table("Null control: each reader plays the model", columns, rows, _rules(rules))


def degrade(agreement: Agreement) -> Table | None:
    """Damage against class; None if not asked for."""
    rows: Rows = []
    rules = set()
    for label, entry in _labels(agreement, "degrade"):
        rules.add(entry["rule"])
        whole = {"as it is": entry["undamaged"]} | entry["damaged"]
        for words, found in whole.items():
            rows.append([label, entry["player"], words, _mean(found["difference"], signed=True), found["class"],
                         _flip(found), plain(found["difference"]["n"])])  # fmt: skip
    columns = ("label", "outlines of", "damage", "difference D (95 % CI)", "class", "verdict got worse", "n")
    return _table("Known damage", columns, rows, _rules(rules))


def _flip(found: Entry) -> str:
    if "flipped" not in found:
        return ""
    return "nothing was judged" if found["flipped"] is None else plain(found["flipped"])


def truth_check(agreement: Agreement) -> Table | None:
    """Whether the verdict was right where an external truth is known; None without a truth."""
    rows: Rows = []
    rules = set()
    for label, model, entry in _models(agreement, "truth"):
        rules.add(entry["rule"])
        rows.append([label, model, _mean(entry["model"]), _mean(entry["readers"]),
                     _mean(entry["difference"], signed=True), plain(entry["n_cases"]), entry["check"]["answer"],
                     entry["check"]["sentence"]])  # fmt: skip
    columns = ("label", "model", "model with truth", "readers with truth", "difference (95 % CI)", "n cases",
               "verdict was", "in words")  # fmt: skip
    return _table("Was the verdict right? Model and readers against the truth", columns, rows, _rules(rules))


def sensitivity(agreement: Agreement) -> Table | None:
    """Other tests of the same difference; None without a model."""
    metric = judged_metric(agreement)
    rows: Rows = []
    notes = set()
    for label, model, entry in _models(agreement, "sensitivity"):
        tests = entry.get("margin_tests") or {}
        block = agreement["labels"][label]["models"][model]
        gamma = block.get("equivalence_index", {}).get(metric, {})
        panel = block.get("device_panel") or {}
        rows.append([label, model, _mean(gamma, signed=True), _p(tests.get("p_difference")),
                     _p(tests.get("p_noninferior")), _p(tests.get("p_equivalent")), _p(tests.get("p_wilcoxon")),
                     f"{_value(panel, 'difference', signed=True)}, p {_p(panel.get('p'))}",
                     plain(tests.get("n") or gamma.get("n"))])  # fmt: skip
        notes |= {tests.get("rule", ""), gamma.get("rule", ""), panel.get("rule", "")}
    columns = ("label", "model", "equivalence index γ (95 % CI)", "p: no difference", "p: non-inferior",
               "p: equivalent (TOST)", "p: Wilcoxon", "device against panel, Dice (95 % CI)", "n patients")  # fmt: skip
    return _table("Other tests of the same difference", columns, rows, _rules(notes))


def without_reader(agreement: Agreement) -> Table | None:
    """D without each reader, and with readers drawn; None where there are too few."""
    rows: Rows = []
    notes = set()
    for label, model, entry in _models(agreement, "sensitivity"):
        found = entry.get("two_way") or {}
        notes.add(found.get("rule", ""))
        if not found.get("without"):
            continue
        listed = "; ".join(
            f"without {reader} {number(value, signed=True)}" for reader, value in found["without"].items()
        )
        rows.append([label, model, number(found["mean"], signed=True), interval(found.get("ci95"), signed=True),
                     interval(found.get("range"), signed=True), listed, plain(found["n"])])  # fmt: skip
    columns = ("label", "model", "D", "95 % CI over patients and readers", "smallest to largest", "one by one",
               "n patients")  # fmt: skip
    return _table("Would other readers have said the same?", columns, rows, _rules(notes))


def alt_test(agreement: Agreement) -> Table | None:
    """The alternative annotator test beside the readers' own; None if absent."""
    rows: Rows = []
    notes = set()
    for label, model, entry in _models(agreement, "alt_test"):
        control = entry.get("null_control") or {}
        passed = "" if entry.get("passed") is None else "passed" if entry["passed"] else "not passed"
        real = (
            control.get("reason") or f"{plain(control.get('passed'))} of {plain(control.get('readers'))} readers pass"
        )
        rows.append([label, model, passed or entry.get("reason", ""), number(entry.get("winning_rate")),
                     number(entry.get("advantage_probability")), plain(entry.get("epsilon")), real,
                     number(control.get("mean_pass_rate")), plain(entry.get("n"))])  # fmt: skip
        notes.add(entry.get("rule", ""))
    columns = ("label", "model", "outcome", "winning rate ω", "advantage probability ρ", "ε", "null control",
               "pass rate of a real reader", "n patients")  # fmt: skip
    return _table("Alternative annotator test", columns, rows, _rules(notes))


def bias(agreement: Agreement) -> Table | None:
    """Signed surface distance beside the readers' own range; None if absent."""
    rows: Rows = []
    notes = set()
    for label, model, entry in _models(agreement, "signed_surface_distance"):
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
    return _table("Drawn larger or smaller: signed surface distance", columns, rows, _rules(notes))


def limits(agreement: Agreement) -> Table | None:
    """Bland-Altman limits with their intervals, in ml and as ratios; None if absent."""
    rows: Rows = []
    notes = set()
    for label, pairs, block in _volumes(agreement):
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
    return _table("Volume: limits of agreement with their intervals", columns, rows, _rules(notes))


def reliability(agreement: Agreement) -> Table | None:
    """Intraclass correlations and the variation between readers; None if absent."""
    rows: Rows = []
    notes = set()
    for label, entry in _labels(agreement, "volume"):
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
    return _table("Volume: reliability of the readers", columns, rows, _rules(notes))


def _form(entry: Entry | None) -> str:
    return "" if entry is None else estimate(entry)


def lesions(agreement: Agreement) -> Table | None:
    """Detection of lesions; None if not asked for."""
    rows: Rows = []
    notes = set()
    for label, model, entry in [
        *_models(agreement, "lesions"),
        *((a, "", b) for a, b in _labels(agreement, "lesions")),
    ]:
        for measure, found in entry["measures"].items():
            rows.append([label, model, phrase(measure), _mean(found["human_human"]), _mean(found["model_human"]),
                         _mean(found["difference"], signed=True), plain(found["n_cases"])])  # fmt: skip
        notes.add(entry["rule"])
    columns = ("label", "model", "measure", "reader with reader", "model with reader", "difference D (95 % CI)",
               "n cases")  # fmt: skip
    return _table("Lesions", columns, rows, _rules(notes))


def lesion_sizes(agreement: Agreement) -> Table | None:
    """Detection by size of the lesion; None if not asked for."""
    rows: Rows = [
        [label, model, _size(size), plain(size["lesions"]), number(size["model"]), number(size["readers"]),
         interval(size["difference_ci95"], signed=True), number(size["model_false_positives"]),
         number(size["reader_false_positives"]), plain(size["n_patients"])]
        for label, model, entry in _models(agreement, "lesions")
        for size in entry["by_size"]
    ]  # fmt: skip
    columns = ("label", "model", "size (ml)", "lesions", "model finds", "readers find", "difference (95 % CI)",
               "model's false positives per case", "readers' false positives per case", "n patients")  # fmt: skip
    return _table("Lesions by size", columns, rows, "Every reader is the reference once.")


def _size(entry: Entry) -> str:
    high = finite(entry["high_ml"])
    return f"{entry['low_ml']:g} and more" if high is None else f"{entry['low_ml']:g} to {high:g}"


def distribution(agreement: Agreement) -> Table | None:
    """Energy distance, matched IoU and CRPS; None if absent."""
    rows: Rows = []
    notes = set()
    for label, model, entry in _models(agreement, "distribution"):
        score = entry.get("crps_volume_ml") or {}
        rows.append([label, model, _mean(entry.get("ged2", {})), _mean(entry.get("hungarian_iou", {})),
                     *(_mean(score.get(mode, {})) for mode in ("exact", "ensemble")),
                     f"{entry['samples']} and {entry['readers']}", plain(entry["n"])])  # fmt: skip
        notes.add(entry["rule"])
    columns = ("label", "model", "GED²", "Hungarian-matched IoU", "CRPS of the volume, normal (ml)",
               "CRPS, readers as they are (ml)", "samples and readers", "n cases")  # fmt: skip
    return _table("Distribution", columns, rows, _rules(notes))


def probabilities(agreement: Agreement) -> Table | None:
    """Calibration and soft overlap of a model's probabilities; None without any."""
    keys = {"ece": "ECE, readers", "ece_soft": "ECE, their share", "brier": "Brier, readers",
            "brier_soft": "Brier, their share", "soft_dice": "soft Dice", "qubiq_dice": "QUBIQ Dice",
            "curvas_dice": "CURVAS Dice", "curvas_confidence": "CURVAS confidence"}  # fmt: skip
    rows: Rows = []
    notes = set()
    for label, model, entry in _models(agreement, "probabilities"):
        rows.append([label, model, *(_mean(entry[key]) for key in keys), entry["domain"], plain(entry["n"])])
        notes.add(entry["rule"])
    columns = ("label", "model", *keys.values(), "domain", "n cases")
    return _table("Probabilities", columns, rows, _rules(notes))


def chance_corrected(agreement: Agreement) -> Table | None:
    """Kappas with their domain; None if absent."""
    rows: Rows = []
    for label, entry in _labels(agreement, "kappa"):
        values = [
            estimate({"value": entry[key], "ci95": _of(entry, "ci95", key), "n": _of(entry, "n", key)})
            if key in entry
            else ""
            for key in ("fleiss", "krippendorff", "gwet_ac1", "conformity", "joint_iou")
        ]
        rows.append([label, *values, entry["domain"]])
    columns = ("label", "Fleiss' kappa", "Krippendorff's alpha", "Gwet's AC1", "generalised conformity",
               "joint IoU of all readers", "domain")  # fmt: skip
    note = "Secondary: these values depend on the domain over which voxels are counted. Means over patients."
    return _table("Chance-corrected agreement", columns, rows, note)


def staple(agreement: Agreement) -> Table | None:
    """STAPLE's sensitivities and specificities; None if absent or anonymous."""
    rows: Rows = []
    for label, entry in _labels(agreement, "consensus"):
        found = entry.get("staple") or {}
        for reader, values in found.get("raters", {}).items():
            rows.append([label, reader, number(values["sensitivity"]), number(values["specificity"]),
                         plain(values["elected"]), found["domain"], plain(values["n"])])  # fmt: skip
    columns = ("label", "reader", "sensitivity", "specificity", "cases in which STAPLE is this reader alone",
               "domain", "n")  # fmt: skip
    note = "Means over patients. Where STAPLE elects one reader, it is an opinion and no consensus."
    return _table("STAPLE", columns, rows, note)


def intra_reader(agreement: Agreement) -> Table | None:
    """Agreement of readers with themselves; None without repeats."""
    rows: Rows = []
    for label, entry in _labels(agreement, "intra_reader"):
        rows.append([label, "all", _mean(entry["pooled"]), plain(entry["n_cases"])])
        rows += [[label, reader, _mean(found), plain(found["n"])] for reader, found in entry["per_reader"].items()]
    columns = ("label", "reader", f"{metric_name(judged_metric(agreement))} with the same reader's other reading", "n")
    return _table("Readers who read again", columns, rows, "")


def strata(agreement: Agreement) -> Table | None:
    """D by group of cases; None without groups."""
    rows: Rows = [
        [label, model, f"{found['factor']}: {found['value']}", number(found["human_human"]),
         number(found["model_human"]), _mean(found["difference"], signed=True), _p(found["p_adjusted"]),
         plain(found["n_cases"])]
        for label, model, entry in _models(agreement, "strata")
        for found in entry
    ]  # fmt: skip
    columns = ("label", "model", "group", "reader with reader", "model with reader", "difference D (95 % CI)",
               "p (Benjamini-Hochberg)", "n cases")  # fmt: skip
    return _table("By group of cases", columns, rows, "Exploratory: nothing here is a verdict.")


def tolerances(agreement: Agreement) -> Table | None:
    """NSD's tolerances where they come from the readers; None where they were given."""
    rows: Rows = []
    notes = set()
    for label, entry in _labels(agreement, "tolerance"):
        ends = f"{number(entry['lowest_mm'])} to {number(entry['highest_mm'])}"
        rows.append([label, number(entry["median_mm"]), ends, plain(entry["n"])])
        notes.add(entry["rule"])
    columns = ("label", "median (mm)", "smallest to largest (mm)", "n patients")
    return _table("NSD's tolerance, from the readers of other patients", columns, rows, _rules(notes))


def _labels(agreement: Agreement, key: str) -> Iterator[tuple[str, Entry]]:
    for label, entry in agreement["labels"].items():
        if entry.get(key):
            yield label, entry[key]


def _models(agreement: Agreement, key: str) -> Iterator[tuple[str, str, Any]]:
    for label, entry in agreement["labels"].items():
        for model, found in entry.get("models", {}).items():
            if found.get(key):
                yield label, model, found[key]


def _volumes(agreement: Agreement) -> Iterator[tuple[str, str, Entry]]:
    for label, entry in agreement["labels"].items():
        blocks = [("reader − reader", entry.get("volume"))]
        blocks += [(f"{model} − reader", found.get("volume")) for model, found in entry.get("models", {}).items()]
        yield from ((label, pairs, block) for pairs, block in blocks if block)


def _mean(entry: Entry, *, signed: bool = False) -> str:
    """Mean or value with its interval, without n, which has its own column."""
    return estimate({key: entry[key] for key in ("mean", "value", "ci95") if key in entry}, signed=signed)


def _value(entry: Entry, key: str, *, signed: bool = False) -> str:
    return estimate({"mean": entry.get(key), "ci95": entry.get("ci95")}, signed=signed)


def _williams(found: Entry) -> str:
    return _mean(found["williams"]) if found.get("williams") else "not defined for distances"


def _of(entry: Entry, key: str, name: str) -> Any:
    """A value beside a number, where the file has one."""
    return (entry.get(key) or {}).get(name)


def _p(value: object) -> str:
    """A p value; small ones as `< 0.001`."""
    known = finite(value)
    return "" if known is None else "< 0.001" if known < 0.001 else f"{known:.3f}"


def _rules(rules: set[str]) -> str:
    return " ".join(f"{rule[:1].upper()}{rule[1:]}." for rule in sorted(filter(None, rules)))


def _table(title: str, columns: Sequence[str], rows: Rows, note: str) -> Table | None:
    """The table without columns that are empty in every row; None without rows."""
    if not rows:
        return None
    kept = [place for place in range(len(columns)) if any(row[place] not in ("", None) for row in rows)]
    return Table(title, tuple(columns[k] for k in kept), [[row[k] for k in kept] for row in rows], note)
