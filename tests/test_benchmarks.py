"""The scripts in `benchmarks/` that promise figures: their options, and what they make of a fast, slow or failing side.

Nothing here depends on how long anything takes.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
KEYS = {"name", "ours", "peer", "ratio", "target", "met", "unit"}
PROMISED = {  # name: the least ratio, from the promises in docs/results.md
    "dicom_vs_simpleitk": 1, "dicom_vs_monai": 5, "dicom_vs_dcm2niix": 1 / 1.5, "jpeg_ls_vs_simpleitk": 1.8,
    "rle_vs_simpleitk": 3, "nii_gz_vs_simpleitk": 1 / 1.2, "nii_gz_vs_nibabel": 2.2, "nii_gz_vs_monai": 6,
    "resample_linear_vs_simpleitk": 2, "resample_cubic_vs_nnunet": 3, "resample_nearest_vs_simpleitk": 3,
}  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script; as when it is run, its neighbours are found by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if name.startswith(("io_", "parity", "benchmark_")):
            del sys.modules[name]


@pytest.fixture
def rows(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("io_rows")


def work(seconds: float) -> Callable[[], np.ndarray]:
    def call() -> np.ndarray:
        time.sleep(seconds)
        return np.zeros(3)

    return call


def agree(_ours: Any, _peer: Any) -> str:
    return ""


def fail(*_: Any) -> Any:
    raise RuntimeError("no such codec")


# ---- io_rows


def test_the_ratio_is_peer_by_ours_and_is_met_from_the_target_on(rows: ModuleType) -> None:
    assert rows.Row("a", 2.0, ours=1.0, peer=2.0).ratio == 2.0
    assert rows.Row("a", 2.0, ours=1.0, peer=2.0).met
    assert not rows.Row("a", 2.0, ours=1.0, peer=1.9).met


def test_a_row_as_json_has_the_keys_that_were_promised(rows: ModuleType) -> None:
    assert set(rows.Row("a", 2.0, ours=1.0, peer=2.0).as_json()) == KEYS
    assert rows.Row("a", 2.0, reason="the peer failed").as_json()["reason"] == "the peer failed"


def test_both_sides_are_run_in_turns_and_compared(rows: ModuleType) -> None:
    order: list[str] = []
    comparison = rows.Comparison(lambda: order.append("ours"), lambda: order.append("peer"), agree)

    row = rows.measure("a", 0.0, lambda: comparison, rows.Effort(3, least_s=0))

    assert order == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]  # the first two to warm up
    assert row.ours and row.peer and not row.reason


def test_results_that_differ_do_not_meet_the_target(rows: ModuleType) -> None:
    row = rows.measure(
        "a", 0.0, lambda: rows.Comparison(work(0), work(0), lambda a, b: "3 voxels differ"), rows.Effort(2, least_s=0)
    )

    assert (row.met, row.reason, row.failed) == (False, "3 voxels differ", False)


def test_a_peer_that_fails_is_a_row_with_its_reason_and_our_time(rows: ModuleType) -> None:
    row = rows.measure("a", 1.0, lambda: rows.Comparison(work(0), fail, agree), rows.Effort(2, least_s=0))

    assert (row.peer, row.ratio, row.met, row.failed) == (None, None, False, False)
    assert row.reason == "the peer failed: RuntimeError: no such codec" and row.ours is not None


@pytest.mark.parametrize("where", ["build", "ours"])
def test_our_own_failure_is_told_apart(rows: ModuleType, where: str) -> None:
    build = fail if where == "build" else lambda: rows.Comparison(fail, work(0), agree)

    row = rows.measure("a", 1.0, build, rows.Effort(2, least_s=0))

    assert row.failed and not row.met and row.reason.startswith("medseg failed")


def test_a_slow_row_stops_at_its_budget_but_not_before_two_turns(rows: ModuleType) -> None:
    ours, peer = rows.in_turns(work(0.01), work(0), rows.Effort(50, most_s=0.0))

    assert (len(ours), len(peer)) == (2, 2)


def test_a_fast_row_is_run_more_often_but_not_for_ever(rows: ModuleType) -> None:
    effort = rows.Effort(runs=3, least_s=1.0)

    assert not effort.suffices(3, 0.9) and effort.suffices(3, 1.1)
    assert effort.suffices(rows.MOST_TURNS * 3, 0.001)


# ---- io


def test_every_promise_has_a_row(script: Callable[[str], ModuleType]) -> None:
    io = script("io")

    assert {target.name: pytest.approx(target.least) for target in io.TARGETS} == PROMISED
    assert io.MEMORY == "dicom_peak_memory"


def test_options(script: Callable[[str], ModuleType]) -> None:
    io = script("io")

    assert (io.parse([]).quick, io.parse([]).json) == (False, False)
    assert (io.parse(["--quick", "--json"]).quick, io.parse(["--json"]).json) == (True, True)
    with pytest.raises(SystemExit):
        io.parse(["--only", "gigavoxels"])


def test_json_lines_go_to_stdout_alone_and_a_failing_peer_is_no_failure_of_ours(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    io = script("io")
    monkeypatch.setattr(io, "TARGETS", (
        io.Target("a", 0.0, lambda inputs: io.Comparison(work(0), work(0), agree)),
        io.Target("b", 1.0, lambda inputs: io.Comparison(work(0), fail, agree)),
    ))  # fmt: skip
    monkeypatch.setattr(io, "measure_memory", lambda inputs: io.Row("memory", 1.0, 50.0, 100.0, "MB"))

    code = io.main(["--quick", "--json"])

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [(row["name"], row["met"]) for row in found] == [("a", True), ("b", False), ("memory", True)]


def test_our_own_failure_is_the_exit_code(script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    io = script("io")
    monkeypatch.setattr(io, "TARGETS", (io.Target("a", 1.0, fail),))
    monkeypatch.setattr(io, "measure_memory", lambda inputs: io.Row("memory", 1.0, 50.0, 100.0, "MB"))

    assert io.main(["--quick", "--json"]) == 1


def test_small_inputs_are_read_alike_by_us_and_the_peers(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    io = script("io")
    inputs = io.Inputs(tmp_path, slices=12, size=48)

    for target in io.TARGETS:
        if "nnunet" in target.name or "dcm2niix" in target.name or "monai" in target.name:
            continue  # programs of the bench extra, or seconds of imports
        comparison = target.build(inputs)
        assert comparison.difference(comparison.ours(), comparison.peer()) == "", target.name


def test_the_inputs_are_seeded_and_no_two_slices_are_alike(script: Callable[[str], ModuleType]) -> None:
    inputs = script("io_inputs")
    first, again = (list(inputs.ct_slices(4, 64)) for _ in range(2))

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({plane.tobytes() for plane in first}) == 4
    assert min(plane.min() for plane in first) >= -1024


def test_a_comparison_of_voxels_counts_them(script: Callable[[str], ModuleType]) -> None:
    io = script("io")
    a = np.zeros((6, 6, 6), np.float32)
    b = a.copy()
    b[3, 3, 3] = 2

    assert io.same_voxels(a, a) == "" and io.same_voxels(a, b) == "1 of 216 voxels differ"
    assert io.close_inside(a, b, within_hu=3) == "" and io.close_inside(a, b, within_hu=1) != ""
    assert io.same_voxels(a, b[1:]).startswith("shape")


# ---- parity


def test_the_table_of_parity_is_markdown_or_json(script: Callable[[str], ModuleType]) -> None:
    parity_rows = script("parity_rows")
    row = parity_rows.Row("dicom/x", "as stored", "equal", hu=0.0, mm=2e-5)

    assert row.as_markdown() == "| dicom/x | as stored | 0 | 2.0e-05 | equal |  |"
    assert row.as_json() == {"source": "dicom/x", "what": "as stored", "verdict": "equal", "hu": 0.0, "mm": 2e-5}


def test_a_difference_without_a_reason_is_the_exit_code(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parity = script("parity")
    monkeypatch.setitem(parity.SECTIONS, "nifti", lambda data: iter([parity.Row("a", "b", "differs", hu=3.0)]))
    monkeypatch.setitem(parity.SECTIONS, "seg", lambda data: iter([parity.Row("a", "b", "refused", why="few")]))

    assert parity.main([".", "--only", "nifti"]) == 1
    assert parity.main([".", "--only", "seg", "--json"]) == 0
    assert '"verdict": "refused"' in capsys.readouterr().out
