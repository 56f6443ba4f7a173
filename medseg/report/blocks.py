"""Tables of what stands beside the difference D: other tests, checks, lesions, truth, strata; one function a block."""

from __future__ import annotations

from medseg.report.block_cells import (
    Entry,
    Rows,
    label_blocks,
    mean_of,
    model_blocks,
    p_value,
    part_of,
    rules_text,
    share_of,
    table_of,
    value_of,
    williams_of,
)
from medseg.report.blocks_measures import measure_tables
from medseg.report.tables import Agreement, Table, judged_metric
from medseg.report.wording import estimate, interval, metric_name, number, plain


def block_tables(agreement: Agreement) -> list[Table]:
    """All blocks that the file holds, in the order of the page."""
    found = (
        secondary(agreement),
        planning(agreement),
        trained_on(agreement),
        ranking(agreement),
        null_control(agreement),
        degrade(agreement),
        truth_check(agreement),
        sensitivity(agreement),
        without_reader(agreement),
        alt_test(agreement),
        *measure_tables(agreement),
        chance_corrected(agreement),
        staple(agreement),
        intra_reader(agreement),
        strata(agreement),
        tolerances(agreement),
    )
    return [table for table in found if table is not None]


def missingness(agreement: Agreement) -> Table | None:
    """Who read which structure and found it; None where the file does not say."""
    rows: Rows = []
    rules = set()
    for label, entry in label_blocks(agreement, "missingness"):
        rules.add(entry["rule"])
        for name, counts in entry["columns"].items():
            rows.append([label, name, *(plain(counts[key]) for key in ("present", "absent", "missing", "partly"))])
        read = ", ".join(f"{n} cases by {k}" for k, n in entry["readers_per_case"].items() if n)
        rows.append([label, f"all: {read}", "", "", "", ""])
    columns = ("label", "reader or model", "read and found", "read, nothing found", "missing", "read in part")
    return table_of("Who read which structure", columns, rows, rules_text(rules))


def secondary(agreement: Agreement) -> Table | None:
    """The confirmatory secondary questions after Holm; None if none was named."""
    rows: Rows = []
    rules = set()
    for model, found in agreement.get("verdict", {}).items():
        block = found.get("secondary") or {}
        rules.add(block.get("rule", ""))
        rows += [[question, model, mean_of(entry["difference"], signed=True), number(entry["margin"]), entry["class"],
                  p_value(entry["p"]), p_value(entry["p_holm"]), plain(entry["shown"]),
                  plain(entry["difference"]["n"])]
                 for question, entry in block.get("questions", {}).items()]  # fmt: skip
    columns = ("question", "model", "difference D (95 % CI)", "margin", "class", "p", "p (Holm)", "shown",
               "n patients")  # fmt: skip
    return table_of("Confirmatory secondary questions", columns, rows, rules_text(rules))


def planning(agreement: Agreement) -> Table | None:
    """Power at this number of patients and the numbers for 80 %; None without a model."""
    rows: Rows = []
    rules = set()
    for label, model, entry in model_blocks(agreement, "planning"):
        shares = [share_of(entry.get(key)) for key in ("power", "power_equivalent")]
        needed = [plain(entry[key]) if entry.get(key) is not None else ""
                  for key in ("n_for_80pct", "n_for_80pct_equivalent")]  # fmt: skip
        margin = "" if entry.get("margin") is None else number(entry["margin"])
        rows.append([label, model, number(entry["sd"]), margin, *shares, *needed,
                     share_of(entry.get("captured_variability")), plain(entry["n_patients"])])  # fmt: skip
        rules.add(entry["rule"])
    columns = ("label", "model", "SD of D", "margin", "power, non-inferior", "power, equivalent",
               "n for 80 %, non-inferior", "n for 80 %, equivalent", "variability that the readers capture",
               "n patients")  # fmt: skip
    return table_of("Planning: was the study large enough?", columns, rows, rules_text(rules))


def trained_on(agreement: Agreement) -> Table | None:
    """Pairs with readers from whom a model learned beside all others; None where none did."""
    rows: Rows = []
    rules = set()
    for label, model, entry in model_blocks(agreement, "trained_on"):
        rules.add(entry["rule"])
        for key, words in (("learned_from", "learned from"), ("others", "not learned from")):
            found = entry[key]
            readers = f"{words}: {', '.join(found['raters']) or 'nobody'}"
            means = [mean_of(found[side]) for side in ("human_human", "model_human")]
            rows.append([label, model, readers, *means, mean_of(found["difference"], signed=True),
                         plain(found["difference"]["n"])])  # fmt: skip
    columns = ("label", "model", "readers", "these readers with the others", "model with these readers",
               "difference D (95 % CI)", "n cases")  # fmt: skip
    return table_of("Readers from whom the model learned", columns, rows, rules_text(rules))


def ranking(agreement: Agreement) -> Table | None:
    """Several models from best to worst with the paired differences to the next; None for one model."""
    rows: Rows = []
    block = agreement.get("ranking") or {}
    for label, entry in block.get("labels", {}).items():
        for model in entry["models"]:
            best, worst = model["places"]
            rows.append([label, str(model["place"]), model["model"], mean_of(model["difference"], signed=True),
                         f"{best} to {worst}", "", plain(entry["n"])])  # fmt: skip
        for pair in entry["pairs"]:
            versus = f"{pair['model']} minus {pair['other']}"
            rows.append([label, "", versus, mean_of(pair["difference"], signed=True), "",
                         p_value(pair["p_holm"]), plain(entry["n"])])  # fmt: skip
    columns = ("label", "place", "model or pair", "D or its difference (95 % CI)", "places left open",
               "p (Holm)", "n patients")  # fmt: skip
    rules = {entry["rule"] for entry in block.get("labels", {}).values()}
    return table_of("Ranking of the models", columns, rows, rules_text(rules))


def null_control(agreement: Agreement) -> Table | None:
    """What each reader gets who plays the model; None if not asked for."""
    rows: Rows = []
    rules = set()
    for label, entry in label_blocks(agreement, "null_control"):
        rules |= {entry.get("rule") or f"{label}: {entry.get('reason', '')}"}
        for reader, found in entry["readers"].items():
            rows.append([label, reader, mean_of(found["difference"], signed=True), williams_of(found), found["class"],
                         plain(found["difference"]["n"])])  # fmt: skip
    columns = ("label", "reader as the model", "difference D (95 % CI)", "Williams (95 % CI)", "class", "n")
    if not rows and rules:
        return Table("Null control", ("", "why there is none"), [["", rule] for rule in sorted(rules)])
    return table_of("Null control: each reader plays the model", columns, rows, rules_text(rules))


def degrade(agreement: Agreement) -> Table | None:
    """Damage against class; None if not asked for."""
    rows: Rows = []
    rules = set()
    for label, entry in label_blocks(agreement, "degrade"):
        rules.add(entry["rule"])
        whole = {"as it is": entry["undamaged"]} | entry["damaged"]
        for words, found in whole.items():
            rows.append([label, entry["player"], words, mean_of(found["difference"], signed=True), found["class"],
                         _flip(found), plain(found["difference"]["n"])])  # fmt: skip
    columns = ("label", "outlines of", "damage", "difference D (95 % CI)", "class", "verdict got worse", "n")
    return table_of("Known damage", columns, rows, rules_text(rules))


def _flip(found: Entry) -> str:
    if "flipped" not in found:
        return ""
    return "nothing was judged" if found["flipped"] is None else plain(found["flipped"])


def truth_check(agreement: Agreement) -> Table | None:
    """Whether the verdict was right where an external truth is known; None without a truth."""
    rows: Rows = []
    rules = set()
    for label, model, entry in model_blocks(agreement, "truth"):
        rules.add(entry["rule"])
        rows.append([label, model, mean_of(entry["model"]), mean_of(entry["readers"]),
                     mean_of(entry["difference"], signed=True), plain(entry["n_cases"]), entry["check"]["answer"],
                     entry["check"]["sentence"]])  # fmt: skip
    columns = ("label", "model", "model with truth", "readers with truth", "difference (95 % CI)", "n cases",
               "verdict was", "in words")  # fmt: skip
    return table_of("Was the verdict right? Model and readers against the truth", columns, rows, rules_text(rules))


def sensitivity(agreement: Agreement) -> Table | None:
    """Other tests of the same difference; None without a model."""
    metric = judged_metric(agreement)
    rows: Rows = []
    notes = set()
    for label, model, entry in model_blocks(agreement, "sensitivity"):
        tests = entry.get("margin_tests") or {}
        block = agreement["labels"][label]["models"][model]
        gamma = block.get("equivalence_index", {}).get(metric, {})
        panel = block.get("device_panel") or {}
        keys = ("p_difference", "p_noninferior", "p_equivalent", "p_wilcoxon")
        rows.append([label, model, mean_of(gamma, signed=True), *(p_value(tests.get(key)) for key in keys),
                     f"{value_of(panel, 'difference', signed=True)}, p {p_value(panel.get('p'))}",
                     plain(tests.get("n") or gamma.get("n"))])  # fmt: skip
        notes |= {tests.get("rule", ""), gamma.get("rule", ""), panel.get("rule", "")}
    columns = ("label", "model", "equivalence index γ (95 % CI)", "p: no difference", "p: non-inferior",
               "p: equivalent (TOST)", "p: Wilcoxon", "device against panel, Dice (95 % CI)", "n patients")  # fmt: skip
    return table_of("Other tests of the same difference", columns, rows, rules_text(notes))


def without_reader(agreement: Agreement) -> Table | None:
    """D without each reader, and with readers drawn; None where there are too few."""
    rows: Rows = []
    notes = set()
    for label, model, entry in model_blocks(agreement, "sensitivity"):
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
    return table_of("Would other readers have said the same?", columns, rows, rules_text(notes))


def alt_test(agreement: Agreement) -> Table | None:
    """The alternative annotator test beside the readers' own; None if absent."""
    rows: Rows = []
    notes = set()
    for label, model, entry in model_blocks(agreement, "alt_test"):
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
    return table_of("Alternative annotator test", columns, rows, rules_text(notes))


def chance_corrected(agreement: Agreement) -> Table | None:
    """Kappas with their domain; None if absent."""
    rows: Rows = []
    for label, entry in label_blocks(agreement, "kappa"):
        values = [
            estimate({"value": entry[key], "ci95": part_of(entry, "ci95", key), "n": part_of(entry, "n", key)})
            if key in entry
            else ""
            for key in ("fleiss", "krippendorff", "gwet_ac1", "conformity", "joint_iou")
        ]
        rows.append([label, *values, entry["domain"]])
    columns = ("label", "Fleiss' kappa", "Krippendorff's alpha", "Gwet's AC1", "generalised conformity",
               "joint IoU of all readers", "domain")  # fmt: skip
    note = "Secondary: these values depend on the domain over which voxels are counted. Means over patients."
    return table_of("Chance-corrected agreement", columns, rows, note)


def staple(agreement: Agreement) -> Table | None:
    """STAPLE's sensitivities and specificities; None if absent or anonymous."""
    rows: Rows = []
    for label, entry in label_blocks(agreement, "consensus"):
        found = entry.get("staple") or {}
        for reader, values in found.get("raters", {}).items():
            rows.append([label, reader, number(values["sensitivity"]), number(values["specificity"]),
                         plain(values["elected"]), found["domain"], plain(values["n"])])  # fmt: skip
    columns = ("label", "reader", "sensitivity", "specificity", "cases in which STAPLE is this reader alone",
               "domain", "n")  # fmt: skip
    note = "Means over patients. Where STAPLE elects one reader, it is an opinion and no consensus."
    return table_of("STAPLE", columns, rows, note)


def intra_reader(agreement: Agreement) -> Table | None:
    """Agreement of readers with themselves; None without repeats."""
    rows: Rows = []
    for label, entry in label_blocks(agreement, "intra_reader"):
        rows.append([label, "all", mean_of(entry["pooled"]), plain(entry["n_cases"])])
        rows += [[label, reader, mean_of(found), plain(found["n"])] for reader, found in entry["per_reader"].items()]
    columns = ("label", "reader", f"{metric_name(judged_metric(agreement))} with the same reader's other reading", "n")
    return table_of("Readers who read again", columns, rows, "")


def strata(agreement: Agreement) -> Table | None:
    """D by group of cases; None without groups."""
    rows: Rows = [
        [label, model, f"{found['factor']}: {found['value']}", number(found["human_human"]),
         number(found["model_human"]), mean_of(found["difference"], signed=True), p_value(found["p_adjusted"]),
         plain(found["n_cases"])]
        for label, model, entry in model_blocks(agreement, "strata")
        for found in entry
    ]  # fmt: skip
    columns = ("label", "model", "group", "reader with reader", "model with reader", "difference D (95 % CI)",
               "p (Benjamini-Hochberg)", "n cases")  # fmt: skip
    return table_of("By group of cases", columns, rows, "Exploratory: nothing here is a verdict.")


def tolerances(agreement: Agreement) -> Table | None:
    """NSD's tolerances where they come from the readers; None where they were given."""
    rows: Rows = []
    notes = set()
    for label, entry in label_blocks(agreement, "tolerance"):
        ends = f"{number(entry['lowest_mm'])} to {number(entry['highest_mm'])}"
        rows.append([label, number(entry["median_mm"]), ends, plain(entry["n"])])
        notes.add(entry["rule"])
    columns = ("label", "median (mm)", "smallest to largest (mm)", "n patients")
    return table_of("NSD's tolerance, from the readers of other patients", columns, rows, rules_text(notes))
