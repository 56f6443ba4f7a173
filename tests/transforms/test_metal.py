"""Metal: where it goes, what it measures, how its streaks run and where they end."""

import numpy as np
import pytest
import torch

from medseg.transforms.metal import Insert, MetalConfig, MetalParams

SPACING = (2.0, 2.0, 2.0)
AWAY = (np.arange(80) - 39.5) * 2
X, Y = AWAY[:, None], AWAY[None]


def insert(*candidates: tuple[float, float], radius_mm: float = 6.0) -> Insert:
    return Insert(candidates, (radius_mm, radius_mm), 0.0)


def params(*inserts: Insert, slices=(5.0, 15.0), metal_hu: float = 8000.0) -> MetalParams:
    return MetalParams(inserts, slices, metal_hu, 3071.0, SPACING, seed=1)


def water(slices: int = 20) -> torch.Tensor:
    plane = np.where(np.hypot(X, Y) < 70, 0, -1000).astype(np.float32)
    return torch.from_numpy(np.broadcast_to(plane[None, ..., None], (1, 80, 80, slices)).copy())


def applied(image: torch.Tensor, drawn: MetalParams) -> torch.Tensor:
    return MetalConfig().build().apply_image(image, drawn)


def test_no_insert_is_the_identity():
    image = water()
    assert torch.equal(applied(image, params()), image)


def test_insert_has_its_size_and_the_largest_value_of_the_image():
    image = applied(water(), params(insert((0.5, 0.5))))
    metal = image > 3071 / 2
    assert float(metal.sum()) * 8 == pytest.approx(np.pi * 6**2 * 20, rel=0.1)
    assert bool((image[0, 40, 40, 5:15] == 3071).all()) and not bool(metal[..., :5].any() or metal[..., 15:].any())


def test_metal_below_the_largest_value_keeps_its_own():
    image = applied(water(), params(insert((0.5, 0.5)), metal_hu=2500.0))
    assert float(image.max()) == pytest.approx(2500, abs=1)


def test_the_densest_candidate_is_taken():
    image = water()
    image[0, 18:24, 38:42] = 900.0
    metal = applied(image, params(insert((0.5, 0.5), (0.26, 0.5), (0.7, 0.5)))) > 3000
    assert bool(metal[0, 20, 40, 10]) and not bool(metal[0, 30:].any())


def test_no_metal_floats_in_air():
    image = torch.full((1, 40, 40, 8), -1000.0)
    assert torch.equal(applied(image, params(insert((0.5, 0.5)), slices=(2.0, 6.0))), image)


def test_a_dark_band_joins_two_inserts_with_bright_streaks_beside_it():
    change = applied(water(), params(insert((0.3, 0.5)), insert((0.7, 0.5)))) - water()
    between = float(change[0, 38:42, 38:42, 5:15].mean())
    across = float(change[0, 38:42, 60:64, 5:15].mean())
    assert between < -100 and between < across - 100 and abs(across) < 60


def test_streaks_end_with_the_metal():
    change = (applied(water(40), params(insert((0.3, 0.5)), insert((0.7, 0.5)), slices=(20.0, 30.0))) - water(40)).abs()
    assert (
        float(change[..., :15].max()) < 1 and float(change[..., 36:].max()) < 1 and float(change[..., 25].max()) > 100
    )


def test_denser_metal_throws_stronger_streaks():
    pair = insert((0.3, 0.5)), insert((0.7, 0.5))
    weak, strong = (
        (applied(water(), params(*pair, metal_hu=hu)) - water())[0, 38:42, 38:42, 10].mean() for hu in (4000.0, 16000.0)
    )
    assert float(strong) < 1.5 * float(weak) < 0


def test_fine_streaks_differ_between_slices_and_are_the_same_for_the_same_seed():
    drawn = params(insert((0.3, 0.5)), insert((0.7, 0.5)))
    once, again = applied(water(), drawn), applied(water(), drawn)
    assert torch.equal(once, again) and not torch.equal(once[..., 9], once[..., 10])


def test_values_above_the_largest_one_that_were_there_stay():
    image = water()
    image[0, 10, 40] = 5000.0
    assert float(applied(image, params(insert((0.5, 0.5))))[0, 10, 40].max()) > 3071


def test_drawn_inserts_lie_in_the_middle_and_have_their_sizes():
    step = MetalConfig(probability=1, inserts=(1, 4), radius_mm=(3, 5), length_mm=(10, 20)).build()
    drawn = [step.sample(np.random.default_rng(seed), (50, 60, 40), SPACING) for seed in range(60)]
    inserts = [one for p in drawn for one in p.inserts]
    places = np.array([one.candidates for one in inserts])
    assert places.min() >= 0.15 and places.max() <= 0.85
    assert all(min(one.radii_mm) >= 1.5 and 3 <= one.radii_mm[0] <= 5 for one in inserts)
    assert all(p.slices[0] >= 0 and 5 <= p.slices[1] - p.slices[0] <= 10 and p.slices[1] <= 40 for p in drawn)
    assert {len(p.inserts) for p in drawn} == {1, 2, 3, 4}
