"""`benchmarks/augmentation.py` and its parity: who is timed on what, and that both sides make the same of an image.

Nothing here depends on how long anything takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
PROMISED = {
    "affine_vs_bg2": 5, "affine_vs_monai": 4, "elastic_vs_bg2": 5, "elastic_vs_monai": 5, "elastic_vs_torchio": 5,
    "nnunet_default_vs_bg2": 2.5, "nnunet_all_vs_bg2": 3, "nnunet_all_vs_monai": 2,
}  # fmt: skip
# Of one channel, as in nnUNetTrainer.get_training_transforms of nnU-Net 2.8.1: of blur and low resolution half the
# chance, because they toss a coin for every channel as well.
SHARES = {
    "rotation": 0.2, "scaling": 0.2, "noise": 0.1, "blur": 0.1, "brightness": 0.15, "contrast": 0.15,
    "low_resolution": 0.125, "gamma_inverted": 0.1, "gamma": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script; as when it is run, its neighbours are found by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield import_module


@pytest.fixture(scope="module")
def bench(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("augmentation")


@pytest.fixture(scope="module")
def rows(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("augmentation_rows")


@pytest.fixture(scope="module")
def inputs(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("augmentation_inputs")


def side(rows: ModuleType, name: str, log: list[Any], shape: tuple[int, ...] = (1, 2, 2, 2)) -> Any:
    def run(draw: int) -> tuple[np.ndarray, np.ndarray]:
        log.append((name, draw))
        return np.zeros(shape), np.zeros(shape)

    return rows.Side(lambda draw: draw, run)


def failing(rows: ModuleType) -> Any:
    def run(draw: int) -> Any:
        raise RuntimeError("no such grid")

    return rows.Side(lambda draw: draw, run)


# ---- rounds and rows


def test_the_ratio_is_that_of_single_rounds(rows: ModuleType) -> None:
    row = rows.PairedRow("a", 2.0, ours=1.0, peer=9.0, paired=2.5)

    assert row.ratio == 2.5 and row.met
    assert row.as_json()["ratio"] == 2.5


def test_both_sides_take_turns_on_the_same_draws(rows: ModuleType) -> None:
    log: list[Any] = []
    contest = rows.Contest(side(rows, "ours", log), side(rows, "peer", log))

    rows.in_turns(contest, rows.Rounds(2, 1000))

    assert log == [("ours", 0), ("peer", 0), ("peer", 1), ("ours", 1)]


def test_a_round_of_several_draws_is_timed_draw_by_draw(rows: ModuleType) -> None:
    log: list[Any] = []
    contest = rows.Contest(side(rows, "ours", log), side(rows, "peer", log), draws=(5, 6))

    pairs = rows.in_turns(contest, rows.Rounds(1, 1000))

    assert len(pairs) == 1
    assert log == [("ours", 5), ("peer", 5), ("peer", 6), ("ours", 6)]


def test_a_row_ends_when_its_budget_is_spent_but_has_one_round(rows: ModuleType) -> None:
    contest = rows.Contest(side(rows, "ours", []), side(rows, "peer", []))

    assert len(rows.in_turns(contest, rows.Rounds(50, 0.0))) == 1


def test_a_peer_that_fails_is_a_row_with_its_reason_and_our_time(rows: ModuleType) -> None:
    row = rows.measure("a", 5.0, lambda: rows.Contest(side(rows, "ours", []), failing(rows)), rows.Rounds(1, 1))

    assert (row.peer, row.ratio, row.met, row.failed) == (None, None, False, False)
    assert row.reason == "the peer failed: RuntimeError: no such grid" and row.ours is not None


def test_our_own_failure_is_told_apart(rows: ModuleType) -> None:
    row = rows.measure("a", 5.0, lambda: rows.Contest(failing(rows), side(rows, "peer", [])), rows.Rounds(1, 1))

    assert row.failed and row.reason.startswith("medseg failed")


def test_results_of_different_shapes_do_not_meet_the_target(rows: ModuleType) -> None:
    contest = rows.Contest(side(rows, "ours", []), side(rows, "peer", [], (1, 3, 3, 3)))

    row = rows.measure("a", 0.0, lambda: contest, rows.Rounds(1, 1))

    assert not row.met and row.reason.startswith("shapes")


# ---- the benchmark


def test_every_promise_has_a_row_with_one_and_with_two_threads(bench: ModuleType) -> None:
    assert {t.name: t.least for t in bench.TARGETS if t.name in PROMISED} == PROMISED
    assert bench.THREADS == (1, 2)
    assert [t.name for t in bench.TARGETS if t.least == 0] == ["affine_vs_torchio"]


def test_options_name_single_rows(bench: ModuleType) -> None:
    assert bench.parse(["--quick", "--json", "--only", "affine_vs_bg2_2t"]).only == ["affine_vs_bg2_2t"]
    with pytest.raises(SystemExit):
        bench.parse(["--only", "gigavoxels"])


def test_json_lines_go_to_stdout_alone_and_a_failing_peer_is_no_failure_of_ours(
    bench: ModuleType, rows: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = rows.Contest(side(rows, "ours", []), side(rows, "peer", []))
    bad = rows.Contest(side(rows, "ours", []), failing(rows))
    monkeypatch.setattr(bench, "TARGETS", (
        bench.Target("a", 0.0, lambda sample, effort: good), bench.Target("b", 1.0, lambda sample, effort: bad)
    ))  # fmt: skip
    monkeypatch.setattr(bench, "QUICK", bench.Effort(8, bench.Rounds(1, 1), 1))
    monkeypatch.setattr(bench, "measure_memory", lambda edge: bench.Row("memory", 1.0, 10.0, 30.0, "MB"))

    code = bench.main(["--quick", "--json"])

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [(row["name"], row["met"]) for row in found] == [
        ("a_1t", True), ("a_2t", True), ("b_1t", False), ("b_2t", False), ("memory", True),
    ]  # fmt: skip


def test_the_number_of_threads_is_left_as_it_was(bench: ModuleType, inputs: ModuleType) -> None:
    before = torch.get_num_threads()
    list(bench.on_cpu(bench.Effort(8, bench.Rounds(1, 1), 1), {"nothing"}))

    assert torch.get_num_threads() == before


# ---- the inputs


def test_the_raw_sample_is_as_large_as_nnunet_s(inputs: ModuleType) -> None:
    assert int(128 * inputs.RAW_SHARE) == 205  # get_patch_size for 30 degrees and its factor of 0.85


def test_the_sample_is_drawn_alike_again_and_holds_four_labels(inputs: ModuleType) -> None:
    one, again = inputs.Sample(16), inputs.Sample(16)

    assert torch.equal(one.hu, again.hu) and one.hu.shape == one.labels.shape == (1, 25, 25, 25)
    assert one.labels.unique().tolist() == [0, 1, 2, 3]
    assert one.middle(one.hu).shape == (1, 16, 16, 16)


@pytest.mark.parametrize("config", ["affine", "elastic", "nnunet", "nnunet_forced"])
def test_our_side_gives_the_patch_and_leaves_its_input(inputs: ModuleType, config: str) -> None:
    sample = inputs.Sample(16)
    chosen = getattr(inputs, config)(*(["nearest"] if config in ("affine", "elastic") else []))
    ours = inputs.pipeline_side(sample, chosen)
    before = sample.hu.clone()

    image, labels = ours.result(0)

    assert image.shape == labels.shape == (1, 16, 16, 16) and image.dtype == torch.float32
    assert torch.equal(sample.hu, before)


def test_what_acts_is_told_in_nnunet_s_names_and_as_often_as_there(inputs: ModuleType) -> None:
    pipeline = inputs.build_pipeline(inputs.nnunet(), patch_shape=(16, 16, 16))
    draws = 1000
    found = [inputs.acting(pipeline, (16, 16, 16), draw) for draw in range(draws)]

    counted = {name: sum(name in acting for acting in found) / draws for name in SHARES}
    assert set().union(*found) == set(SHARES)
    for name, share in SHARES.items():
        assert abs(counted[name] - share) < 4 * (share * (1 - share) / draws) ** 0.5, name


def test_forced_on_means_everything_every_time(inputs: ModuleType) -> None:
    pipeline = inputs.build_pipeline(inputs.nnunet_forced(), patch_shape=(16, 16, 16))

    assert inputs.acting(pipeline, (16, 16, 16), 3) == set(SHARES)


def test_batchgeneratorsv2_does_what_it_is_told_and_nothing_else(load: Callable[[str], ModuleType]) -> None:
    pytest.importorskip("nnunetv2", reason="nnU-Net is in the bench extra, not in the test extra")
    peers, inputs = load("augmentation_peers"), load("augmentation_inputs")
    sample = inputs.Sample(16)
    compose = peers.nnunet_transforms(sample)
    peers.force(compose, {"gamma", "rotation"})

    on = {type(step.transform).__name__ for step in compose.transforms if getattr(step, "apply_probability", 0)}
    assert on == {"GammaTransform"} and set(SHARES) == peers.ALL
    assert (compose.transforms[0].p_rotation, compose.transforms[0].p_scaling) == (1, 0)


# ---- parity


def test_our_transforms_agree_with_monai_s_voxel_by_voxel(load: Callable[[str], ModuleType]) -> None:
    parity, inputs = load("augmentation_parity_monai"), load("augmentation_inputs")
    sample = inputs.Sample(30)

    found = list(parity.rows(sample.hu, sample.labels))

    assert len(found) > 20
    assert [row.as_markdown() for row in found if not row.equal] == []


def test_a_shift_of_half_a_deviation_is_found_and_none_is_not(load: Callable[[str], ModuleType]) -> None:
    draws = load("augmentation_parity_draws")
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 300), rng.normal(0, 1, 300)

    assert draws.compared("x", one, other, draws._mean, 0.002).equal
    assert not draws.compared("x", one + 0.5, other, draws._mean, 0.002).equal
    assert not draws.compared("x", one * 2, other, draws._spread, 0.002).equal


def test_statistics_of_the_preset_match_batchgeneratorsv2_s(load: Callable[[str], ModuleType]) -> None:
    pytest.importorskip("nnunetv2", reason="nnU-Net is in the bench extra, not in the test extra")
    draws, inputs = load("augmentation_parity_draws"), load("augmentation_inputs")
    sample = inputs.Sample(24)

    found = list(draws.rows(sample.hu, sample.labels, count=60, edge=20))

    assert len(found) == 14
    assert [row.as_markdown() for row in found if not row.equal] == []


def test_a_row_of_parity_is_markdown_or_json(load: Callable[[str], ModuleType]) -> None:
    row = load("augmentation_parity_rows").Row("blur", "MONAI", 0.5, 1.0, "HU")

    assert row.as_markdown() == "| blur | MONAI |  |  | 0.5 | 1 | HU | equal |"
    assert row.as_json() == {"name": "blur", "peer": "MONAI", "difference": 0.5, "tolerance": 1.0, "unit": "HU",
                             "equal": True}  # fmt: skip
