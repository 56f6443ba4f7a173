"""`agree` with several models, with the readers' own control, with damage, and taken up again after it was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.io.nifti import write_labels
from medseg.workflows import agreement_scoring
from medseg.workflows.agreement import AgreementOptions, agree
from medseg.workflows.readings_files import model_folders
from tests.workflows.test_agreement import GRID, ball, write_study

FAST: dict[str, Any] = {"draws": 300}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Three readers, a model that draws like them and one that draws too small."""
    root = tmp_path_factory.mktemp("models")
    write_study(root, 22, raters="ABC")
    rng = np.random.default_rng(7)
    for k in range(22):
        write_labels(root / f"small/c{k:02}.nii.gz", ball(5.0, rng), GRID)
    return root


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """A few cases, for what does not depend on how many there are."""
    root = tmp_path_factory.mktemp("short")
    write_study(root, 5)
    return root


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("agree") / "out"
    options: dict[str, Any] = {"null_control": True, "degrade": ["erode:3", "drop:largest"], "margin": 0.1}
    return agree(raters=study / "raters", model=[study / "net", study / "small"], out=out, **options, **FAST), out


def test_every_model_gets_its_own_verdict(finished):
    verdict = finished[0]["verdict"]
    assert finished[0]["design"]["models"] == ["net", "small"]
    assert verdict["net"]["class"] in ("equivalent", "non-inferior") and verdict["small"]["class"] == "inferior"


def test_models_are_ranked_with_the_interval_of_their_difference(finished):
    ranking = finished[0]["ranking"]["labels"]["1"]
    assert [(entry["model"], entry["place"]) for entry in ranking["models"]] == [("net", 1), ("small", 2)]
    (pair,) = ranking["pairs"]
    low, high = pair["difference"]["ci95"]
    assert 0 < low < high and pair["p_holm"] < 0.001 and ranking["n"] == 22
    entry = finished[0]["labels"]["1"]["models"]
    means = [entry[model]["difference"]["dice"]["mean"] for model in ("net", "small")]
    assert pair["difference"]["mean"] == pytest.approx(means[0] - means[1])


def test_a_second_model_does_not_change_what_the_first_gets(study, finished, tmp_path):
    alone = agree(raters=study / "raters", model=study / "net", out=tmp_path / "out", margin=0.1, **FAST)
    together = finished[0]["labels"]["1"]
    for key in ("difference", "model_human", "williams", "presence", "alt_test", "distribution", "sensitivity"):
        assert alone["labels"]["1"]["models"]["net"][key] == together["models"]["net"][key]
    assert alone["labels"]["1"]["kappa"] == together["kappa"]


def test_readers_who_play_the_model_differ_by_nothing(finished):
    control = finished[0]["labels"]["1"]["null_control"]["readers"]
    assert set(control) == {"A", "B", "C"}
    for found in control.values():
        assert abs(found["difference"]["mean"]) < 0.03 and found["williams"]["value"] == pytest.approx(1, abs=0.04)


def test_known_damage_turns_the_verdict(finished):
    found = finished[0]["labels"]["1"]["degrade"]
    assert found["player"] == "net" and found["undamaged"]["class"] in ("equivalent", "non-inferior")
    damaged = found["damaged"]
    assert set(damaged) == {"erode by 3 mm", "drop the largest part"}
    assert all(entry["class"] == "inferior" and entry["flipped"] for entry in damaged.values())
    whole = finished[0]["labels"]["1"]["human_human"]["dice"]["mean"]
    assert damaged["drop the largest part"]["difference"]["mean"] == pytest.approx(-whole)


def test_damaged_outlines_stand_in_no_table_of_pairs(finished):
    assert "erode" not in (finished[1] / "pairs.csv").read_text() + (finished[1] / "cases.csv").read_text()


def test_two_readers_have_no_control_and_the_file_says_why(tmp_path):
    raters, _ = write_study(tmp_path, 3)
    result = agree(raters=raters, out=tmp_path / "out", null_control=True, **FAST)
    control = result["labels"]["1"]["null_control"]
    assert control["readers"] == {} and "3 readers are needed" in control["reason"]


def test_without_a_model_a_reader_is_damaged(study, tmp_path):
    result = agree(raters=study / "raters", out=tmp_path / "out", degrade=True, margin=0.1, **FAST)
    found = result["labels"]["1"]["degrade"]
    assert found["player"] == "A" and len(found["damaged"]) == 4
    assert found["damaged"]["drop the largest part"]["class"] == "inferior"


def test_damage_that_moves_no_voxel_names_the_case(study, tmp_path):
    with pytest.raises(UsageError, match=r"case c00, --degrade: .*moves no voxel"):
        agree(raters=study / "raters", model=study / "net", out=tmp_path / "out", degrade=["erode:0.5"], **FAST)


def test_several_jobs_give_the_same_file(study, finished, tmp_path):
    options: dict[str, Any] = {"null_control": True, "degrade": ["erode:3", "drop:largest"], "margin": 0.1}
    models = [study / "net", study / "small"]
    again = agree(raters=study / "raters", model=models, out=tmp_path / "out", jobs=3, **options, **FAST)
    assert again == finished[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"secondary": ["1:dice"]}, "--secondary: secondary questions without a primary one"),
        ({"primary": "1:precision"}, "--metric: unknown metric; expected one of dice"),
        ({"viewers": -1}, "--viewers: out of range"),
        ({"surface": "skin"}, "--surface: no such surface; expected surfel or voxel"),
        ({"empty_policy": "zero"}, "--empty-policy: unknown rule.*diagonal or exclude"),
        ({"margin": {"1": 0.1, "2:hd95": 1.0}}, "a margin for an unknown label; expected one of 1, got 2:hd95"),
    ],
)
def test_options_that_make_no_sense_are_refused(short, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        agree(raters=short / "raters", model=short / "net", out=tmp_path / "out", **options, **FAST)


def test_an_unknown_option_is_no_option(short, tmp_path):
    with pytest.raises(TypeError, match="margn"):
        agree(raters=short / "raters", out=tmp_path / "out", margn=0.1)


def test_no_job_is_refused(study, tmp_path):
    with pytest.raises(UsageError, match="--jobs"):
        agree(raters=study / "raters", out=tmp_path / "out", jobs=0, **FAST)


class Counted(list[str]):
    """Ids of the cases that were scored, not taken from the cache; the work is cut off after `most`."""

    most = 1000


@pytest.fixture
def counted(monkeypatch) -> Counted:
    scored = Counted()
    real = agreement_scoring._pairs_scored

    def count(case, *rest):
        scored.append(case.id)
        if len(scored) > scored.most:
            raise KeyboardInterrupt
        return real(case, *rest)

    monkeypatch.setattr(agreement_scoring, "_pairs_scored", count)
    return scored


def test_a_comparison_that_was_cut_off_goes_on_where_it_was(short, counted, tmp_path):
    counted.most = 2
    arguments: dict[str, Any] = {"raters": short / "raters", "model": short / "net", "out": tmp_path / "out", **FAST}
    with pytest.raises(KeyboardInterrupt):
        agree(**arguments)
    assert len(list((tmp_path / "out/scored").glob("*.json"))) == 2
    counted.most = 1000
    counted.clear()
    result = agree(**arguments)
    assert len(counted) == 5 - 2
    counted.clear()
    fresh = agree(**(arguments | {"out": tmp_path / "fresh"}))
    assert len(counted) == 5 and fresh == result


def test_another_margin_scores_no_case_again(short, counted, tmp_path):
    arguments: dict[str, Any] = {"raters": short / "raters", "model": short / "net", "out": tmp_path / "out", **FAST}
    agree(**arguments, margin=0.1)
    counted.clear()
    agree(**arguments, margin=0.2, overwrite=True)
    assert counted == []
    agree(**arguments, tolerance_mm=1.0, overwrite=True)
    assert len(counted) == 5 and len(list((tmp_path / "out/scored").iterdir())) == 5


def test_a_changed_file_is_scored_again(tmp_path, counted):
    raters, model = write_study(tmp_path, 4)
    agree(raters=raters, model=model, out=tmp_path / "out", **FAST)
    write_labels(model / "c02.nii.gz", ball(6.0, np.random.default_rng(3)), GRID)
    counted.clear()
    agree(raters=raters, model=model, out=tmp_path / "out", overwrite=True, **FAST)
    assert counted == ["c02"]


def test_a_damaged_file_of_the_cache_is_scored_again(tmp_path, counted):
    raters, model = write_study(tmp_path, 3)
    first = agree(raters=raters, model=model, out=tmp_path / "out", **FAST)
    path = sorted((tmp_path / "out/scored").iterdir())[0]
    path.write_text(path.read_text()[:100])
    counted.clear()
    assert agree(raters=raters, model=model, out=tmp_path / "out", overwrite=True, **FAST) == first
    assert len(counted) == 1


def test_the_primary_question_decides_and_the_others_are_exploratory(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(22):
        for name, radius in (("raters/A", 7.0), ("raters/B", 7.0), ("net", 4.0)):
            labels = ball(radius, rng)
            labels[:3, :3, :3] = 2  # everybody draws the corner alike, but for a voxel
            labels[3, 0, 0] = 2 * rng.integers(2)
            write_labels(tmp_path / f"{name}/c{k:02}.nii.gz", labels, GRID)
    arguments: dict[str, Any] = {"raters": tmp_path / "raters", "model": tmp_path / "net", "margin": 0.1, **FAST}
    arguments |= {"out": tmp_path / "out", "overwrite": True}  # cases are scored once
    worst = agree(**arguments)["verdict"]["net"]
    named = agree(**arguments, primary="2:dice")
    assert (worst["label"], worst["class"]) == ("1", "inferior")
    assert named["verdict"]["net"]["label"] == "2" and named["verdict"]["net"]["class"] != "inferior"
    assert set(named["verdict"]["net"]["exploratory_p"]) == {"1:dice"} and named["config"]["primary"] == "2:dice"
    with pytest.raises(UsageError, match="unknown primary question"):
        agree(**arguments, primary="liver:dice")
    with pytest.raises(UsageError, match="no margin for the secondary question 1:hd95; expected 1:hd95=MARGIN"):
        agree(**arguments, primary="2:dice", secondary=["1:hd95"])
    options = AgreementOptions(primary="2:dice", secondary=("1:hd95",), seed=4)
    apart: dict[str, Any] = arguments | {"margin": {"2": 0.1, "1:hd95": 1.5}}
    told = agree(**apart, options=options)
    assert told["config"]["secondary"] == ["1:hd95"] and told["config"]["bootstrap"]["seed"] == 4
    assert told["verdict"]["net"]["secondary"]["questions"]["1:hd95"]["class"] == "inferior"
    assert "Confirmatory secondary questions" in (tmp_path / "out/report.html").read_text()


def test_blocks_beside_the_difference_say_their_n_and_rule(finished):
    ours = finished[0]["labels"]["1"]["models"]["net"]
    assert ours["alt_test"]["n"] == 22 and "Benjamini-Yekutieli" in ours["alt_test"]["rule"]
    assert ours["alt_test"]["null_control"]["readers"] == 3
    assert ours["distribution"]["n"] == 22 and ours["distribution"]["readers"] == 3
    assert ours["sensitivity"]["margin_tests"]["n"] == 22
    assert set(ours["sensitivity"]["two_way"]["without"]) == {"A", "B", "C"}
    assert ours["equivalence_index"]["dice"]["value"] == pytest.approx(-ours["difference"]["dice"]["mean"])
    assert ours["volume"]["bland_altman"]["model"]["n_patients"] == 22
    label = finished[0]["labels"]["1"]
    assert label["kappa"]["n"]["fleiss"] == 22 and label["consensus"]["staple"]["n"] == 22
    assert set(label["consensus"]["staple"]["raters"]) == {"A", "B", "C"}
    assert label["volume"]["reliability"]["icc"]["n_cases"] == 22


def test_the_file_holds_no_number_that_json_lacks(finished):
    json.loads((finished[1] / "agreement.json").read_text(), parse_constant=pytest.fail)


def test_tolerances_come_from_the_readers_of_other_patients(study, tmp_path):
    result = agree(raters=study / "raters", model=study / "net", out=tmp_path / "out", tolerance_mm="readers", **FAST)
    label = result["labels"]["1"]
    found = label["tolerance"]
    assert found["lowest_mm"] <= found["median_mm"] <= found["highest_mm"] and "left out" in found["rule"]
    assert result["config"]["tolerance_mm"]["1"] == found["median_mm"] and found["n"] == 22
    assert label["human_human"]["nsd"]["mean"] > 0.93  # about 95 % of their surfaces by construction


def test_a_registered_plan_makes_the_margin_pre_specified(short, tmp_path):
    from datetime import UTC, datetime

    from medseg.workflows.registration import register

    plan = tmp_path / "plan.yaml"
    plan.write_text("margin: 0.1\nmetric: nsd\ntolerance_mm: 1.5\n")
    register(plan, now=datetime(2020, 1, 1, tzinfo=UTC))
    arguments: dict[str, Any] = {"raters": short / "raters", "model": short / "net", **FAST}
    kept = agree(**arguments, out=tmp_path / "kept", plan=plan)
    assert kept["config"]["metric"] == "nsd" and kept["config"]["margin"] == "pre-specified"
    assert "margin -0.100, pre-specified" in kept["verdict"]["net"]["sentence"]
    other = agree(**arguments, out=tmp_path / "other", plan=plan, margin=0.2)
    assert other["config"]["margin"] == "stated by the user"
    assert "registered" in other["config"]["registration"]["reasons"][0]


def test_everybody_with_everybody_and_who_read_what(finished):
    label = finished[0]["labels"]["1"]
    assert label["matrix"]["names"] == ["A", "B", "C", "net", "small"]
    assert label["matrix"]["mean"][0][1] == label["matrix"]["mean"][1][0] and label["matrix"]["n"][0][3] == 22
    places = dict(zip(label["embedding"]["names"], label["embedding"]["coordinates"], strict=True))
    near, far = (np.linalg.norm(np.subtract(places["A"], places[name])) for name in ("net", "small"))
    assert far > 2 * near
    assert label["missingness"]["complete"] == 22 and label["missingness"]["columns"]["small"]["present"] == 22


def test_a_model_that_draws_smaller_carries_a_warning_of_its_bias(finished):
    found = finished[0]["labels"]["1"]["models"]["small"]["signed_surface_distance"]
    assert found["mean_mm"] == pytest.approx(-2.0, abs=0.5) and found["outside_readers_range"]
    assert any("smaller than by the readers" in reason for reason in finished[0]["verdict"]["small"]["reasons"])


def test_lesions_are_counted_when_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(4):
        for name in ("raters/A", "raters/B", "net"):
            labels = ball(5.0, rng)
            labels[:3, :3, :3] = name != "net"  # a second lesion that the model misses
            write_labels(tmp_path / f"{name}/c{k}.nii.gz", labels, GRID)
    result = agree(raters=tmp_path / "raters", model=tmp_path / "net", out=tmp_path / "out", lesions=["1"], **FAST)
    measures = result["labels"]["1"]["models"]["net"]["lesions"]["measures"]
    assert measures["lesion_sensitivity"]["model_human"]["mean"] == 0.5
    assert measures["lesion_sensitivity"]["human_human"]["mean"] == 1.0
    assert measures["lesion_f1"]["difference"]["mean"] == pytest.approx(2 / 3 - 1)


def test_the_worst_cases_get_a_viewer_page_each(study, tmp_path):
    result = agree(raters=study / "raters", model=study / "small", out=tmp_path / "out", viewers=2, **FAST)
    pages = sorted(path.name for path in (tmp_path / "out/viewer").iterdir())
    assert len(pages) == 2 and all(name.startswith("c") for name in pages)
    html = (tmp_path / "out/report.html").read_text()
    assert all(html.count(f'<a href="viewer/{name}">') == 2 for name in pages)  # the list of pages, and the worst cases
    assert (tmp_path / "out/checklists.md").read_text().startswith("## GRRAS")
    assert "small" in (tmp_path / "out/viewer" / pages[0]).read_text() and result["design"]["models"] == ["small"]


def test_a_model_may_be_named_before_its_folder_as_the_command_line_hands_it_over(tmp_path):
    given = [Path(f"first={tmp_path / 'a' / 'net'}"), Path(f"second={tmp_path / 'b' / 'net'}")]
    assert model_folders(given) == {"first": tmp_path / "a" / "net", "second": tmp_path / "b" / "net"}
