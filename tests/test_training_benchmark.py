"""`benchmarks/training.py` and `training_dice.py`: both sides do the same work, and verdicts follow from the numbers.

Nothing here depends on how long anything takes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medseg.evaluation.statistics import Interval
from medseg.imaging.labels import LabelSet
from medseg.models.nnunet_weights import translate

FOLDER = Path(__file__).parents[1] / "benchmarks"
Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Imports a script; as when it is run, its neighbours are found by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield import_module


@pytest.fixture(scope="module")
def bench(load: Load) -> ModuleType:
    return load("training")


@pytest.fixture(scope="module")
def sides(load: Load) -> ModuleType:
    return load("training_sides")


@pytest.fixture(scope="module")
def nnunet(load: Load) -> ModuleType:
    return load("training_nnunet")


@pytest.fixture(scope="module")
def scores(load: Load) -> ModuleType:
    return load("training_dice_scores")


class FakeSide:
    """Takes so many seconds a unit, and notes when it was called."""

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log
        self.facts: dict[str, Any] = {"logits": [0.0]}
        self.ready_s = self.peak_mb = seconds

    def go_on(self) -> None:
        pass

    def close(self) -> None:
        pass

    def run(self, units: int, threads: int | None = None) -> float:
        self.log.append(self.name)
        return self.seconds


# ---- turns and rows


def test_whoever_went_last_goes_first_and_the_first_turn_does_not_count(sides: ModuleType) -> None:
    log: list[str] = []

    rounds = sides.in_turns(FakeSide("ours", 1.0, log), FakeSide("peer", 2.0, log), 2, 1)

    assert rounds == [(1.0, 2.0), (1.0, 2.0)]
    assert log == ["ours", "peer", "ours", "peer", "peer", "ours"]


def test_where_a_round_takes_longer_than_is_enough_there_are_three(sides: ModuleType) -> None:
    rounds = sides.in_turns(FakeSide("ours", 1.0, []), FakeSide("peer", 2.0, []), 9, 1, enough_s=-1.0)

    assert rounds == [(1.0, 2.0)] * 3


def test_the_promises_are_a_twentieth_in_full_and_a_tenth_in_the_quick_form(bench: ModuleType) -> None:
    assert (bench.FULL.step_target, bench.QUICK.step_target) == (1 / 1.05, 1 / 1.10)
    assert min(bench.FULL.step_rounds, bench.QUICK.step_rounds) >= 15
    assert dict(bench.LOOP_TARGETS)["end_to_end"] == 1.0


@pytest.mark.parametrize("form", ["quick", "full"])
def test_json_lines_go_to_stdout_alone_and_every_target_of_the_cpu_has_a_row(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    _fake(bench, monkeypatch, {"ours": 1.0, "nnunet": 1.2})

    code = bench.main(["--json", *(["--quick"] if form == "quick" else [])])

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    promised = {"step_1t", "end_to_end", "end_to_end_vs_one_thread", "end_to_end_vs_processes"}
    more = {"step_2t", *bench.DATA, *bench.FRESH} if form == "full" else set()
    assert code == 0
    assert {row["name"] for row in found} == promised | more
    assert all(row["met"] and row["ratio"] == pytest.approx(1.2) for row in found)


def test_only_the_rows_asked_for_are_measured(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake(bench, monkeypatch, {"ours": 1.0, "nnunet": 1.2})

    bench.main(["--json", "--only", "step_2t"])

    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["step_2t"]


def test_the_faster_of_nnunet_s_two_loaders_counts(bench: ModuleType) -> None:
    peer = FakeSide("peer", 3.0, [])
    peer.go_on = lambda: setattr(peer, "seconds", peer.seconds - 1.0)  # type: ignore[method-assign]
    pair = bench.Pair(FakeSide("ours", 0.5, []), peer)

    counted, alone, processes = bench.loop_rows(pair, bench.QUICK)

    assert (alone.ratio, processes.ratio, counted.ratio) == (4.0, 2.0, 2.0)


def test_networks_that_differ_do_not_meet_the_target(bench: ModuleType) -> None:
    pair = bench.Pair(FakeSide("ours", 1.0, []), FakeSide("peer", 1.0, []))
    pair.peer.facts = {"logits": [0.5]}

    (row,) = bench.step_rows(pair, bench.QUICK)

    assert (row.ratio, row.met, row.reason) == (1.0, False, "logits differ by 0.5")


def test_a_peer_that_fails_is_no_failure_of_ours(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake(bench, monkeypatch, {"ours": 1.0})

    code = bench.main(["--quick", "--json"])

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0 and not any(row["met"] for row in found)
    assert {row["reason"] for row in found} == {"the peer failed: RuntimeError: no nnunet here"}


def test_our_own_failure_is_the_exit_code(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake(bench, monkeypatch, {"nnunet": 1.0})

    assert bench.main(["--quick", "--json"]) == 1
    assert "medseg failed: RuntimeError: no ours here" in capsys.readouterr().out


def _fake(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> None:
    """Sides that take so long; one that is not named cannot be started."""

    def side(command: tuple[str, ...], environment: dict[str, str]) -> FakeSide:
        if command[0] not in seconds:
            raise RuntimeError(f"no {command[0]} here")
        return FakeSide(command[0], seconds[command[0]], [])

    monkeypatch.setattr(bench, "Side", side)
    monkeypatch.setattr(bench, "Bench", FakeBench)
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)


class FakeBench:
    def __init__(self, folder: Path, edge: int, cases: int) -> None:
        self.folder, self.data, self.environment = folder, folder, {}
        self.ours = SimpleNamespace(seconds=1.0, peak_mb=1.0, disk_mb=1.0)
        self.peer = SimpleNamespace(seconds=1.2, peak_mb=1.2, disk_mb=1.2)

    def recipe(self, workers: int) -> Path:
        return self.folder / "recipe.yaml"

    def prepare_ours(self) -> None:
        pass

    def prepare_peer(self) -> None:
        pass

    def left_to_peer(self) -> tuple[str, ...]:
        return ()


# ---- processes

OBEDIENT = """
import json, sys
print(json.dumps({"ready": sys.argv[1]}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps({"phase": 2} if order.get("go_on") else {"seconds": 3.0 * order["units"]}), flush=True)
"""


def test_a_child_is_told_what_to_do_and_gives_its_seconds_a_unit(
    sides: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "CHILD", _script(tmp_path, OBEDIENT))
    with closing(sides.Side(("hello",), {})) as side:
        assert side.facts == {"ready": "hello"} and side.ready_s > 0 and side.peak_mb > 0
        assert side.run(4) == 3.0
        side.go_on()
        assert side.facts == {"phase": 2}


def test_who_waits_is_stopped_and_who_is_closed_has_ended(
    sides: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "CHILD", _script(tmp_path, OBEDIENT))
    side = sides.Side(("hello",), {})
    child = sides.psutil.Process(side.process.pid)

    state = child.status()
    side.close()

    assert state == sides.psutil.STATUS_STOPPED and side.process.poll() is not None


def test_a_child_that_dies_is_told_with_its_last_words(
    sides: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "CHILD", _script(tmp_path, "raise ValueError('no such edge')"))

    with pytest.raises(RuntimeError, match="ValueError: no such edge"):
        sides.Side((), {})


def _script(folder: Path, text: str) -> Path:
    path = folder / "child.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_units_are_counted_and_then_the_next_order_is_awaited(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    child, told = load("training_child"), []
    orders = iter([json.dumps({"units": 2, "threads": None}), json.dumps({"go_on": True}), ""])
    monkeypatch.setattr(child.sys, "stdin", SimpleNamespace(readline=lambda: next(orders)))
    obedience = child.Obedience(told.append)

    notes = [obedience.note(loss=3.0), obedience.note(), obedience.note()]
    obedience.begin()
    with pytest.raises(SystemExit):
        obedience.note(phase=2)

    assert notes == [True, True, False]
    assert told[0] == {"loss": 3.0} and list(told[1]) == ["seconds"] and told[2] == {"phase": 2}


def test_memory_of_a_process_is_counted_in_mb(sides: ModuleType) -> None:
    held = np.ones(2**25, dtype=np.uint8)
    memory = sides.Memory(os.getpid())

    memory.look()

    assert memory.peak_mb > held.nbytes / sides.MB


# ---- the same network


def test_the_shared_plan_is_the_shared_network_in_nnunet_s_order_of_axes(nnunet: ModuleType) -> None:
    network = nnunet.shared_network((64, 64, 24), (1.0, 1.0, 3.3), (8, 16, 32, 64))
    plans = nnunet.shared_plans(_plans(), network, (64, 64, 24), 2)

    configuration = plans["configurations"]["3d_fullres"]
    made = configuration["architecture"]["arch_kwargs"]
    assert configuration["patch_size"] == [24, 64, 64] and configuration["batch_size"] == 2
    assert made["strides"] == [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert made["kernel_sizes"] == [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert made["norm"] == "kept" and plans["plans_name"] == nnunet.SHARED


def test_a_plan_that_exchanges_axes_is_refused(nnunet: ModuleType) -> None:
    network = nnunet.shared_network((32, 32, 32), (1.0, 1.0, 1.0), (8, 16, 32))
    with pytest.raises(ValueError, match="exchanges axes"):
        nnunet.shared_plans(_plans() | {"transpose_forward": [1, 0, 2]}, network, (32, 32, 32), 2)


def test_a_patch_too_small_for_the_levels_is_refused(nnunet: ModuleType) -> None:
    with pytest.raises(ValueError, match="too small"):
        nnunet.shared_network((8, 8, 8), (1.0, 1.0, 1.0), (8, 16, 32, 64))


def _plans() -> dict[str, Any]:
    architecture = {"arch_kwargs": {"norm": "kept", "n_stages": 5}}
    return {"transpose_forward": [0, 1, 2], "configurations": {"3d_fullres": {"architecture": architecture}}}


def test_the_shared_plan_builds_a_network_that_takes_our_weights_over(nnunet: ModuleType) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason="nnU-Net is in [bench]")
    ours = nnunet.shared_network((32, 32, 16), (1.0, 1.0, 3.3), (8, 16, 32))
    plans = nnunet.shared_plans(_plans(), ours, (32, 32, 16), 2)
    made = {**plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]}
    del made["norm"]
    peer = unet.PlainConvUNet(
        1, num_classes=3, conv_op=torch.nn.Conv3d, conv_bias=True, norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True}, nonlin=torch.nn.LeakyReLU, deep_supervision=True, **made,
    )  # fmt: skip
    built = ours.build(1, 3, (32, 32, 16))
    state = {name: _turned(tensor) for name, tensor in translate(peer.state_dict()).items()}
    built.load_state_dict(state)
    image = torch.randn(1, 1, 32, 32, 16)

    theirs = peer(image.permute(0, 1, 4, 3, 2))

    for mine, their in zip(built.train()(image), theirs, strict=True):
        torch.testing.assert_close(mine, their.permute(0, 1, 4, 3, 2), atol=1e-4, rtol=1e-4)


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    """Kernels of Z, Y, X as those of X, Y, Z."""
    return tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor


def test_both_sides_of_the_step_begin_with_the_same_logits(load: Load) -> None:
    pytest.importorskip("dynamic_network_architectures", reason="nnU-Net is in the extra [bench]")
    child = load("training_child")

    assert child.first_logits("ours", 16) == pytest.approx(child.first_logits("nnunet", 16), abs=1e-4)


# ---- Dice and verdicts


def test_a_structure_that_nobody_marked_is_left_out_and_a_missed_one_is_zero(scores: ModuleType) -> None:
    labels = LabelSet({"background": 0, "liver": 1, "spleen": 2, "lesion": 3})
    reference = np.array([[[1, 1, 2, 0]]])
    prediction = np.array([[[1, 0, 0, 0]]])

    assert scores._of_case(reference, prediction, labels) == {"liver": pytest.approx(2 / 3), "spleen": 0.0}


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0.01, 0.03, "above 0"), (-0.005, 0.02, "above -0.01"), (-0.02, 0.02, "unresolved"), (-0.05, -0.01, "worse")],
)
def test_a_verdict_follows_from_the_interval(scores: ModuleType, low: float, high: float, state: str) -> None:
    difference = Interval((low + high) / 2, (low, high), "bootstrap-t", 0.1, 40)
    verdict = scores.Verdict("phantom", "medseg", "nnunet", "all", 400, (0,), 0.8, 0.8, difference)

    assert verdict.state == state
    assert verdict.as_json()["met"] is (state in ("above 0", "above -0.01"))


def test_seeds_of_a_patient_are_averaged_before_patients_are_drawn(scores: ModuleType, tmp_path: Path) -> None:
    for seed, gain in ((0, 0.1), (1, 0.3)):
        for side, extra in (("ours", gain), ("peer", 0.0)):
            table = {f"c{n}": {"liver": 0.5 + n / 100 + extra, "kidney_left": 0.5} for n in range(6)}
            scores.write(scores.path_of(tmp_path, "phantom", side, 400, seed), table, {})

    every, middle = scores.verdicts(tmp_path, "phantom", "ours", "peer", 400, (0, 1, 2))

    assert every.seeds == (0, 1) and every.difference.mean == pytest.approx(0.1)
    assert (middle.structures, middle.difference.mean) == ("without sides", pytest.approx(0.2))


def test_without_a_seed_that_both_have_finished_there_is_no_verdict(scores: ModuleType, tmp_path: Path) -> None:
    scores.write(scores.path_of(tmp_path, "phantom", "ours", 400, 0), {"c1": {"liver": 1.0}}, {})

    assert list(scores.verdicts(tmp_path, "phantom", "ours", "peer", 400, (0,))) == []
