"""`benchmarks/evaluation.py`: both sides of each row give the same numbers; nothing here depends on time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
PROMISED = {
    "pairs_vs_surface_distance": 8, "pairs_vs_monai": 20, "pairs_vs_simpleitk": 20,
    "dice_matrix_vs_nnunet": 10, "staple_vs_simpleitk": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import evaluation

        yield evaluation


@pytest.fixture(scope="module")
def study(bench: ModuleType) -> Any:
    return bench.Study((64, 64, 40))


def test_the_targets_are_the_promised_ones(bench: ModuleType) -> None:
    assert {t.name: t.least for t in bench.TARGETS if t.name in PROMISED} == PROMISED
    assert (bench.PANOPTICA, bench.PANOPTICA_LEAST, bench.LIMIT_MB) == ("pairs_vs_panoptica", 6, 1000)


@pytest.mark.parametrize("name", ["pairs_vs_simpleitk", "linear_in_models", "linear_in_pairs"])
def test_both_sides_of_a_row_agree(bench: ModuleType, study: Any, name: str) -> None:
    (target,) = [target for target in bench.TARGETS if target.name == name]
    comparison = target.build(study)
    assert comparison.difference(comparison.ours(), comparison.peer()) == ""


def test_a_wrong_score_is_told_with_its_place(bench: ModuleType, study: Any) -> None:
    scores = bench.score_case(study.readings)
    first = scores[0]
    theirs = {(first.a, first.b, first.label): {"dice": first.values["dice"], "hd95": first.values["hd95"] + 1}}
    assert bench.same_scores(scores, theirs) == f"hd95 of {first.a} {first.b} {first.label} differs by 1"


def test_readers_differ_by_a_little_and_are_drawn_alike_again(bench: ModuleType) -> None:
    one, again = (bench.inputs.readings(["A", "B"], (64, 64, 40)) for _ in range(2))
    assert np.array_equal(one["B"].labels, again["B"].labels)
    dice = bench.dice_matrices(one)["liver"][0, 1]
    assert 0.6 < dice < 0.99


def test_a_missing_peer_costs_its_own_row_alone(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named 'peer'")

    def build(_: Any) -> Any:
        return bench.Comparison(lambda: time.sleep(0.01), lambda: None, lambda a, b: "")

    rows = (bench.Target("here", 0.0, build), bench.Target("gone", 1.0, lambda _: bench.Comparison(list, absent, str)))
    monkeypatch.setattr(bench, "TARGETS", rows)
    monkeypatch.setattr(bench, "measure_bootstrap", lambda *_: bench.Row("bootstrap", 1.0, 1.0, 5.0))
    monkeypatch.setattr(bench, "measure_memory", lambda *_: bench.Row("memory", 1.0, 100.0, 1000.0, "MB"))
    monkeypatch.setattr(bench.scaling, "rows", lambda *_, **__: iter(()))

    assert bench.main(["--quick", "--json"]) == 0
    found = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["here"]["met"] and found["memory"]["met"] and "No module named 'peer'" in found["gone"]["reason"]


def test_panoptica_that_cannot_be_installed_costs_its_own_row_alone(
    bench: ModuleType, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nowhere:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> None:
            raise OSError("no network")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(bench, "Elsewhere", Nowhere)
    row = bench.measure_panoptica(study, bench.Effort(1, 0, 0))
    assert not row.met and not row.failed and row.reason == "panoptica cannot be installed: OSError"


def test_the_table_for_the_documents_has_a_line_for_each_row(bench: ModuleType) -> None:
    met = bench.as_markdown(bench.Row("pairs_vs_monai", 20.0, 0.5, 20.0))
    missed = bench.as_markdown(bench.Row("pairs_vs_panoptica", 6.0, reason="it is not here"))
    assert met == "| pairs vs monai | 0.5 s | 20 s | 40 | 20 | met |"
    assert missed == "| pairs vs panoptica | – | – | – | 6 | **not met** it is not here |"


def test_cases_on_disk_are_scored_alike_however_many_there_are(bench: ModuleType) -> None:
    with bench.scaling.study(8, (48, 48, 32)) as readings:
        comparison = bench.scaling.linear_in_cases(readings)
        ours, theirs = comparison.ours(), comparison.peer()
    assert (len(ours), len(theirs), comparison.difference(ours, theirs)) == (8, 2, "")
