"""The definitions of other tools: what surface-distance, MONAI and MetricsReloaded gave for the same masks.

`tests/data/parity/surfaces.json` was written by `benchmarks/evaluation_parity.py`, which ran the tools themselves.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.scoring import score_masks
from medseg.evaluation.surface import SURFACE_METRICS, measure_masks
from medseg.evaluation.surface_rules import PARITY, surface_rule

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "tests/data/parity/surfaces.json").read_text())["values"]
NAMES = sorted(json.loads((ROOT / "tests/data/golden/golden.json").read_text())["pairs"])
GOLDEN_KEYS = {
    "deepmind": {"nsd": "nsd_surfel@1mm", "hd": "hd100_surfel", "hd95": "hd95_surfel", "assd": "assd_surfel_pooled"},
    "monai": {"nsd": "nsd_voxel@1mm", "hd": "hd", "hd95": "hd95", "assd": "asd_sym"},
    "monai_subvoxels": {"nsd": "nsd_subvox@1mm", "hd": "hd", "hd95": "hd95", "assd": "asd_sym"},
    "metrics_reloaded": {"nsd": "nsd_1mm", "hd": "hd", "hd95": "hd95", "assd": "assd", "masd": "masd"},
}


@pytest.fixture(scope="module")
def pairs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import evaluation_parity

        yield list(evaluation_parity.pairs())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", GOLDEN_KEYS)
def test_golden_pairs_give_the_numbers_of_each_tool(golden, masks, rule, name):
    entry = golden["pairs"][name]
    theirs = entry[rule.removesuffix("_subvoxels")]
    ours = measure_masks(
        masks[f"{name}/a"], masks[f"{name}/b"], tuple(entry["spacing_zyx"]), tolerance_mm=1.0, rule=PARITY[rule]
    )
    for metric, key in GOLDEN_KEYS[rule].items():
        assert ours[metric] == pytest.approx(float(theirs[key]), abs=1e-4, nan_ok=True), metric


@pytest.mark.parametrize("rule", STORED)
def test_readers_and_noise_give_the_numbers_of_each_tool(pairs, rule):
    assert len(pairs) == len(STORED[rule]) == 18
    for name, a, b, spacing, tolerance in pairs:
        ours = measure_masks(a, b, spacing, tolerance_mm=tolerance, rule=PARITY[rule])
        theirs = {key: value for key, value in STORED[rule][name].items() if key in SURFACE_METRICS}
        assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-4), name


def test_monai_with_subvoxels_counts_areas(pairs):
    for name, a, b, spacing, tolerance in pairs:
        ours = measure_masks(a, b, spacing, tolerance_mm=tolerance, rule=PARITY["monai_subvoxels"])
        assert ours["nsd"] == pytest.approx(STORED["monai"][name]["nsd_subvoxels"], abs=1e-4), name


def test_the_noise_meets_every_way_to_cut_a_cell(pairs):
    from medseg.evaluation.surfels import cell_codes

    seen = set().union(*(np.unique(cell_codes(mask)).tolist() for _, a, b, *_ in pairs for mask in (a, b)))
    assert seen == set(range(256))


def test_definitions_differ_where_their_authors_differ(masks):
    a, b = masks["lidc_L1/rater1"], masks["lidc_L1/rater2"]
    spacing = (3.0, 0.65, 0.65)
    by_rule = {name: measure_masks(a, b, spacing, rule=rule)["hd95"] for name, rule in PARITY.items()}
    assert by_rule["medseg"] == by_rule["monai"] == by_rule["metrics_reloaded"] != by_rule["deepmind"]


def test_a_case_is_scored_by_the_rule_that_is_named(masks):
    readers = {name: masks[f"lidc_L1/rater{name}"] for name in "12"}
    (score,) = score_masks(readers, (3.0, 0.65, 0.65), tolerance_mm=1.0, rule=PARITY["deepmind"])
    assert score.values["hd95"] == pytest.approx(STORED["deepmind"]["nodule_12"]["hd95"])


def test_nsd_over_voxels_is_an_option_of_our_own_definition(golden, masks):
    entry = golden["multi_rater"]["L1_lidc_nodule_four_readers"]
    found = measure_masks(
        masks["lidc_L1/rater1"], masks["lidc_L1/rater2"], tuple(entry["spacing_zyx_mm"]), tolerance_mm=1.0,
        rule=surface_rule("voxel"),
    )  # fmt: skip
    assert found["nsd"] == pytest.approx(entry["expected"]["nsd_voxel_1mm"][0], abs=1e-6)


@pytest.mark.parametrize("wrong", [{"surface": "mesh"}, {"definition": "nobody"}])
def test_unknown_surfaces_and_definitions_are_refused_with_the_known_ones(wrong):
    with pytest.raises(UsageError, match=r"surfel|deepmind"):
        surface_rule(**wrong)


@pytest.mark.parametrize("rule", PARITY.values(), ids=PARITY)
def test_every_rule_says_what_it_counts(rule):
    assert rule.as_dict()["surface"] in ("surfel", "voxel") and "95th" in rule.as_dict()["percentile_rule"]
