"""The plan: what is fitted, from which cases, and what the recipe fixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.config import build_config
from medseg.errors import ConfigError, InputError
from medseg.imaging.case import Case
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.preprocessing.plan import Fingerprint, PlanConfig, PreprocessingConfig, fingerprint, fit_plan
from medseg.shapes import IntTriple, Triple

LABELS = LabelSet({"background": 0, "liver": 7})
UNIT: IntTriple = (1, 1, 1)


def measured(spacing_mm: Triple, *hu: float) -> Fingerprint:
    return Fingerprint(spacing_mm, np.array(hu, dtype=np.float32), (10, 10, 10), {})


def fitted(*prints: Fingerprint, multiple: IntTriple = UNIT, **wishes: Any) -> Any:
    return fit_plan(prints, PlanConfig(**wishes), PreprocessingConfig(), multiple)


def test_the_spacing_is_the_median_of_the_cases_axis_by_axis() -> None:
    plan = fitted(measured((1, 2, 5), 0, 9), measured((3, 1, 6), 0, 9), measured((2, 3, 1), 0, 9))

    assert plan.spacing_mm == (2, 2, 5)


def test_the_window_cuts_half_a_percent_at_either_end_and_the_rest_is_centred() -> None:
    plan = fitted(measured((1, 1, 1), *range(1001)))

    assert plan.window_hu == (5.0, 995.0)  # 0.5 and 99.5 percent of 0 .. 1000
    assert plan.mean_hu == pytest.approx(500)
    assert plan.std_hu == pytest.approx(1001 / 12**0.5, rel=0.01)  # of a uniform distribution, a little clipped


def test_what_the_recipe_fixes_is_not_fitted() -> None:
    plan = fitted(measured((1, 1, 1), -500, 0, 50, 900), spacing_mm=(4, 4, 5), window_hu=(-100, 100))

    assert (plan.spacing_mm, plan.window_hu) == ((4, 4, 5), (-100, 100))
    assert plan.mean_hu == pytest.approx((-100 + 0 + 50 + 100) / 4)


@pytest.mark.parametrize(
    "patch, multiple, expected", [((96, 96, 96), (16, 16, 16), (96, 96, 96)), ((65, 64, 3), (32, 32, 4), (96, 64, 4))]
)
def test_the_patch_is_rounded_up_to_what_the_network_can_halve(
    patch: IntTriple, multiple: IntTriple, expected: IntTriple
) -> None:
    assert fitted(measured((1, 1, 1), 0, 9), patch=patch, multiple=multiple).patch == expected


def test_structures_of_one_single_hu_still_give_a_window_that_can_be_divided_by() -> None:
    plan = fitted(measured((1, 1, 1), *[40] * 10))

    assert plan.window_hu[0] < plan.window_hu[1]
    assert plan.std_hu == 1


def test_no_labelled_voxel_in_any_training_case_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no training case has a labelled voxel.*medseg check"):
        fitted(measured((1, 1, 1)))
    with pytest.raises(InputError, match="no training case"):
        fitted()


@pytest.mark.parametrize(
    "wish, expected",
    [
        ({"patch": [0, 8, 8]}, "patch sizes of at least 1"),
        ({"spacing_mm": [1, -1, 1]}, "spacings above 0"),
        ({"window_hu": [240, -160]}, "two rising HU"),
        ({"spacing": [1, 1, 1]}, "spacing_mm"),
    ],
)
def test_impossible_wishes_are_refused(wish: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        build_config(PlanConfig, wish)


@pytest.fixture
def case() -> Case:
    """A grid of 4 x 3 x 2 whose third axis runs to the right; each of two raters marks one voxel."""
    affine = np.array([[0, 0, 5.0, 0], [2.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1]])
    grid = Geometry((4, 3, 2), affine)
    hu = np.arange(24, dtype=np.float32).reshape(grid.shape)
    one, other = np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=np.uint8)
    one[0, 0, 0], other[3, 2, 1] = 7, 7
    return Case("c1", Volume(hu, grid), {"A": LabelMap(one, grid, LABELS), "B": LabelMap(other, grid, LABELS)})


def test_a_fingerprint_holds_what_any_rater_marked_and_the_spacing_towards_right_anterior_superior(case: Case) -> None:
    found = fingerprint(case, PreprocessingConfig())

    assert sorted(found.foreground_hu.tolist()) == [0, 23]
    assert found.spacing_mm == pytest.approx((5, 2, 3))
    assert found.shape == (2, 4, 3)
    assert found.volumes_ml == {"liver": pytest.approx(0.03)}


def test_the_same_case_gives_the_same_fingerprint(case: Case) -> None:
    one, other = (fingerprint(case, PreprocessingConfig()) for _ in range(2))

    assert np.array_equal(one.foreground_hu, other.foreground_hu)
