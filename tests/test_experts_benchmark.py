"""`benchmarks/experts.py`: the numbers of a network that is each of its experts, and how they are summed up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medseg.imaging.case import Case
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.shapes import IntArray

FOLDER = Path(__file__).parents[1] / "benchmarks"
GRID = Geometry((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0]))
LABELS = LabelSet({"background": 0, "liver": 1})


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import experts
    import experts_scores

    yield experts, experts_scores
    for name in ("experts", "experts_scores"):
        del sys.modules[name]


def cube(half: int) -> IntArray:
    """A cube with sides of 2 x `half` voxels of 2 mm."""
    labels, inside = np.zeros(GRID.shape, dtype=np.uint8), slice(12 - half, 12 + half)
    labels[inside, inside, inside] = 1
    return labels


READINGS = {"A": cube(5), "B": cube(6), "C": cube(7)}  # one voxel inside the truth, on it, and outside


def case() -> Case:
    maps = {name: LabelMap(labels, GRID, LABELS) for name, labels in READINGS.items()}
    hu = np.zeros(GRID.shape, dtype=np.float32)
    return Case("c1", Volume(hu, GRID), maps, truth=LabelMap(cube(6), GRID, LABELS))


def share() -> Any:
    """Probabilities (X, Y, Z, 2) that are the experts' shares."""
    marked = np.mean([labels == 1 for labels in READINGS.values()], axis=0)
    return np.stack([1 - marked, marked], axis=-1).astype(np.float32)


def test_a_network_that_is_each_of_its_experts_has_perfect_numbers(scripts: tuple[ModuleType, ModuleType]) -> None:
    numbers = scripts[1].score(scripts[1].Opinions(share(), cube(6), READINGS), case())

    assert numbers["expert_dice"] == numbers["truth_dice"] == 1
    assert (numbers["ged2"], numbers["ece"]) == pytest.approx((0, 0), abs=1e-6)
    assert [round(numbers[f"learned_mm:{name}"]) for name in "ABC"] == [-2, 0, 2]
    assert all(numbers[f"learned_mm:{name}"] == numbers[f"drawn_mm:{name}"] for name in "ABC")


def test_levels_of_the_experts_share_are_the_experts_where_they_are_nested(
    scripts: tuple[ModuleType, ModuleType],
) -> None:
    numbers = scripts[1].score(scripts[1].Opinions(share(), cube(6)), case())

    assert numbers["ged2"] == pytest.approx(0)
    dice = [2 * min(half, 6) ** 3 / (half**3 + 6**3) for half in (5, 6, 7)]
    assert numbers["expert_dice"] == pytest.approx(np.mean(dice))
    assert [round(numbers[f"learned_mm:{name}"], 1) for name in "ABC"] == [0, 0, 0]


def result(mode: str, learned: dict[str, float], seed: int = 0) -> dict[str, Any]:
    numbers = {"expert_dice": 0.9, "truth_dice": 0.8, "ece": 0.01, "ged2": 0.2}
    numbers |= {f"learned_mm:{name}": value for name, value in learned.items()}
    numbers |= {"drawn_mm:A": -1.0, "drawn_mm:B": 1.0}
    return {"mode": mode, "seed": seed, "simulated_mm": {"A": -1.0, "B": 1.0}, "training_s": 1.0,
            "cases": {"c1": dict(numbers), "c2": dict(numbers)}}  # fmt: skip


def test_half_of_the_bias_learned_is_a_slope_of_one_half(scripts: tuple[ModuleType, ModuleType]) -> None:
    summary = scripts[0].summarise([result("heads", {"A": -0.2, "B": 0.8}), result("soft", {"A": 0.3, "B": 0.3})])

    assert scripts[0].slope(summary["heads"]["experts"]) == pytest.approx(0.5)
    assert summary["heads"]["contrast"]["mean"] == pytest.approx(1.0)
    assert summary["heads"]["error"]["mean"] == pytest.approx(0.5)
    assert scripts[0].slope(summary["soft"]["experts"]) == pytest.approx(0)


def test_a_structure_that_was_not_found_has_no_bias_and_does_not_stop_the_table(
    scripts: tuple[ModuleType, ModuleType],
) -> None:
    one = result("heads", {"A": -0.2, "B": 0.8})
    del one["cases"]["c1"]["learned_mm:B"]

    summary = scripts[0].summarise([one])

    assert summary["heads"]["contrast"]["n"] == 1
    assert any(line.startswith("| `heads` | 0.900") for line in scripts[0].markdown(summary))
    del one["cases"]["c2"]["learned_mm:B"]
    assert any("nothing found" in line for line in scripts[0].markdown(scripts[0].summarise([one])))
