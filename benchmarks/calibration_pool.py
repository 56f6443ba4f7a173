"""A population of small one-organ cases, read by simulated experts and scored once; data sets are drawn from it.

Each case is an ellipsoid on a grid of 24 x 24 x 24 voxels of 2 mm. Four experts of `medseg.phantom.experts` read it;
in each case chance decides which of them plays the model, so that a model that is one more reader has the same habits
as the panel and its true D is 0 up to the noise of the pool.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.evaluation.consensus import majority
from medseg.evaluation.pair_table import pair_table
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import score_masks
from medseg.imaging.geometry import Geometry
from medseg.phantom.anatomy import LABELS
from medseg.phantom.experts import Expert, read_scan, sample_experts
from medseg.phantom.scan import OUTSIDE_MM, Scan, label_surfaces
from medseg.phantom.shapes import ellipsoid
from medseg.shapes import BoolArray, FloatArray

SIZE, SPACING_MM, ORGAN, READERS = 24, 2.0, "liver", ("A", "B", "C")
MISSES_EVERY = 5
GRID = Geometry((SIZE, SIZE, SIZE), np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0]))
MODELS = ("one more reader", "copy of a reader", "majority vote", "1 mm larger", "misses one in five")


def build_pool(cases: int, seed: int) -> list[CaseScores]:
    """Scored cases with the readers A, B, C and every model of MODELS."""
    experts = sample_experts(len(READERS) + 1, seed)
    centres = (np.arange(SIZE) - (SIZE - 1) / 2) * SPACING_MM
    points = np.stack(np.meshgrid(centres, centres, centres, indexing="ij")).astype(np.float32)
    return [_case(number, experts, points, seed) for number in range(cases)]


def pool_differences(pool: list[CaseScores]) -> dict[str, FloatArray]:
    """D of Dice (cases,) by model."""
    return {model: pair_table(pool, ORGAN, "dice", READERS, model).differences() for model in MODELS}


def _case(number: int, experts: tuple[Expert, ...], points: FloatArray, seed: int) -> CaseScores:
    rng = np.random.default_rng([seed, number])
    shift, radii, turn = rng.uniform(-2, 2, 3), rng.uniform(13, 18, 3), rng.uniform(0, 90, 3)
    scan = _scan(ellipsoid(points, tuple(shift), tuple(radii), tuple(turn)))  # type: ignore[arg-type]

    def reading(expert: Expert, larger_mm: float = 0.0) -> BoolArray:
        """Repeating a reading draws the same offsets, so that only `larger_mm` differs."""
        own = np.random.default_rng([seed, number, experts.index(expert)])
        return read_scan(replace(expert, bias_mm=expert.bias_mm + larger_mm), scan, GRID, own)[0] == LABELS[ORGAN]

    *panel_experts, other = (experts[place] for place in rng.permutation(len(experts)))
    panel = {name: reading(expert) for name, expert in zip(READERS, panel_experts, strict=True)}
    one_more = reading(other)
    made = {
        "one more reader": one_more,
        "copy of a reader": panel["A"],
        "majority vote": majority(list(panel.values()))[0],
        "1 mm larger": reading(other, 1.0),
        "misses one in five": np.zeros_like(one_more) if number % MISSES_EVERY == 0 else one_more,
    }
    masks = panel | made
    pairs = [("A", "B"), ("A", "C"), ("B", "C"), *((reader, model) for reader in READERS for model in MODELS)]
    scores = score_masks(masks, GRID.spacing_mm, pairs=pairs, label=ORGAN)
    return CaseScores(f"c{number}", f"p{number}", scores, SPACING_MM * float(np.linalg.norm(GRID.shape)))


def _scan(surface: FloatArray) -> Scan:
    """A scan that holds nothing but one organ."""
    nowhere = np.full(surface.shape, OUTSIDE_MM, dtype=np.float32)
    distances = {name: surface if name == ORGAN else nowhere for name in LABELS if name not in ("background", "lesion")}
    return Scan(np.zeros(surface.shape, dtype=np.float32), distances, (), label_surfaces(distances, ()))
