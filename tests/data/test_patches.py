"""Patches: pure functions of seed and number, whole or padded, balanced, with every rater's opinion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from medseg.data.patches import (
    AIR_HU,
    PatchDataset,
    PatchSettings,
    SamplingConfig,
    augmented,
    batches,
    cut,
)
from medseg.data.store import StoredCase
from medseg.shapes import IntTriple
from medseg.transforms.batch import BatchAugment
from medseg.transforms.flip import FlipConfig
from medseg.transforms.intensity import NoiseConfig
from medseg.transforms.occlusion import OcclusionConfig
from medseg.transforms.pipeline import build_pipeline
from medseg.transforms.presets import PRESETS
from medseg.transforms.spatial import AffineConfig
from medseg.transforms.steps import TransformsConfig

MakePatches = Callable[..., PatchDataset]
AUGMENTED = (AffineConfig(probability=1.0), FlipConfig(), NoiseConfig(probability=1.0))


def case(name: str, shape: IntTriple = (12, 12, 12)) -> StoredCase:
    """Three raters; voxel (1, 2, 3) is class 1 for everybody, voxel (r, r, r) class 2 for rater r alone."""
    labels = torch.zeros(3, *shape, dtype=torch.int16)
    labels[:, 1, 2, 3] = 1
    for rater in range(3):
        labels[rater, rater, rater, rater] = 2
    hu = torch.arange(labels[0].numel(), dtype=torch.int16).reshape(1, *shape)
    places = {1: torch.tensor([[1, 2, 3]]), 2: torch.tensor([[r, r, r] for r in range(3)])}
    return StoredCase(name, hu, labels, places)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_workers_gives_the_same_batches(make_patches: MakePatches, workers: int) -> None:
    dataset = make_patches(case("c1"), case("c2"), steps=AUGMENTED, random_rater=True)

    loaded = list(batches(dataset, 0, 3, 2, workers))

    for step, batch in enumerate(loaded):
        for place in range(2):
            item = dataset[2 * step + place]
            assert batch["id"][place] == item["id"]
            assert all(torch.equal(batch[key][place], item[key]) for key in ("image", "target", "weight"))


def test_a_resumed_run_gets_the_batches_that_the_lost_one_would_have_got(make_patches: MakePatches) -> None:
    dataset = make_patches(case("c1"), case("c2"), case("c3"), steps=AUGMENTED)

    whole, rest = list(batches(dataset, 0, 5, 2, 0)), list(batches(dataset, 3, 5, 2, 0))

    assert len(rest) == 2
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(whole[3:], rest, strict=True))


def test_loading_draws_nothing_from_the_random_state_of_training(make_patches: MakePatches) -> None:
    before = torch.get_rng_state()

    list(batches(make_patches(case("c1")), 0, 2, 1, 0))

    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_or_number_gives_another_patch(make_patches: MakePatches) -> None:
    dataset = make_patches(case("c1"), steps=AUGMENTED)
    other_seed = make_patches(case("c1"), steps=AUGMENTED, seed=1)

    assert not torch.equal(dataset[0]["image"], dataset[1]["image"])
    assert not torch.equal(dataset[0]["image"], other_seed[0]["image"])


def test_every_epoch_shows_every_case_once_in_an_order_of_its_own(make_patches: MakePatches) -> None:
    dataset = make_patches(*[case(f"c{number}") for number in range(6)])

    epochs = [[dataset[6 * epoch + place]["id"] for place in range(6)] for epoch in range(4)]

    assert all(sorted(epoch) == [f"c{number}" for number in range(6)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_patch_larger_than_the_image_is_padded_with_air_and_background(make_patches: MakePatches) -> None:
    item = make_patches(case("c1", (4, 12, 4)), patch=(8, 6, 8))[0]

    image, background = item["image"][0], item["target"][0]
    assert image.shape == (8, 6, 8)
    assert (image == AIR_HU).sum() == 8 * 6 * 8 - 4 * 6 * 4
    assert (image[2:6, :, 2:6] > AIR_HU).all()  # the image lies in the middle
    assert (background[image == AIR_HU] == 1).all()
    assert (item["weight"] == 1).all()


def test_with_a_foreground_share_of_one_every_patch_shows_a_structure(make_patches: MakePatches) -> None:
    dataset = make_patches(case("c1", (40, 40, 40)), sampling=SamplingConfig(foreground_share=1, margin_share=0))

    assert all(dataset[number]["target"][1:].any() for number in range(40))


def test_with_a_foreground_share_of_zero_patches_lie_anywhere(make_patches: MakePatches) -> None:
    dataset = make_patches(case("c1", (30, 30, 30)), sampling=SamplingConfig(foreground_share=0, margin_share=0))

    assert sum(bool(dataset[number]["target"][1:].any()) for number in range(60)) < 15  # a box of 6 in one of 30


def test_rare_classes_are_shown_as_often_as_common_ones(make_patches: MakePatches) -> None:
    rare = case("c1", (40, 40, 40))
    rare.labels[:, 20:40, 20:40, 20:40] = 1
    common = torch.argwhere(rare.labels[0] == 1).to(torch.int16)
    unbalanced = StoredCase("c1", rare.hu, rare.labels, {1: common, 2: torch.tensor([[0, 0, 0]])})
    dataset = make_patches(unbalanced, sampling=SamplingConfig(foreground_share=1, margin_share=0))

    shown = sum(bool(dataset[number]["target"][2].any()) for number in range(100))

    assert 30 < shown < 70


def test_a_case_without_structures_still_gives_patches(make_patches: MakePatches) -> None:
    empty = StoredCase("c1", case("c1").hu, torch.zeros(1, 12, 12, 12, dtype=torch.int16), {})

    assert make_patches(empty, sampling=SamplingConfig(foreground_share=1))[0]["target"][0].all()


def test_a_random_rater_is_every_rater_in_turn_and_never_a_mixture(make_patches: MakePatches) -> None:
    dataset = make_patches(case("c1"), patch=(12, 12, 12), random_rater=True)

    seen = Counter()
    for number in range(30):
        (place,) = torch.argwhere(dataset[number]["target"][2] == 1).tolist()
        seen[place[0]] += 1

    assert set(seen) == {0, 1, 2}
    assert min(seen.values()) > 3


def test_a_soft_target_is_the_share_of_raters(make_patches: MakePatches) -> None:
    target = make_patches(case("c1"), patch=(12, 12, 12))[0]["target"]

    assert target[1, 1, 2, 3] == 1
    assert target[2, 0, 0, 0] == pytest.approx(1 / 3)
    assert torch.allclose(target.sum(0), torch.ones(12, 12, 12))


def test_the_margin_reaches_the_augmentation_and_not_the_network(make_patches: MakePatches) -> None:
    dataset = make_patches(case("c1"), sampling=SamplingConfig(margin_share=0.5))
    augmented = make_patches(case("c1"), sampling=SamplingConfig(margin_share=0.5), steps=AUGMENTED)

    assert dataset[0]["image"].shape == (1, 10, 10, 10)  # 6 and ceil(6 * 0.5 / 2) at either side, not yet cut off
    assert augmented[0]["image"].shape == (1, 6, 6, 6)


def test_cut_fills_what_lies_beyond_the_volume() -> None:
    volume = torch.arange(1, 9).reshape(1, 2, 2, 2)

    box = cut(volume, (-1, 0, 1), (3, 1, 2), 0)

    assert box[0, :, 0].tolist() == [[0, 0], [2, 0], [6, 0]]


def test_cut_inside_takes_the_voxels_as_they_are() -> None:
    volume = torch.arange(27).reshape(1, 3, 3, 3)

    assert torch.equal(cut(volume, (1, 0, 1), (2, 3, 2), 0), volume[:, 1:, :, 1:])


CASES = (case("c1", (20, 18, 16)), case("c2", (9, 20, 20)), case("c3", (8, 8, 20)))
MARGIN = SamplingConfig(margin_share=0.5)
PATCH = (8, 8, 8)


def settings(*, random_rater: bool = False, donors: bool = False) -> PatchSettings:
    return PatchSettings(PATCH, MARGIN, classes=3, random_rater=random_rater, seed=0, donors=donors)


def both_ways(config: TransformsConfig, workers: int = 0, **more: bool) -> tuple[list, list]:
    """Batches of two, augmented in the loader, and augmented as a batch afterwards."""
    pipeline = build_pipeline(config, mirror_pairs=((1, 2),), spacing_mm=(1.5, 1.5, 3), patch_shape=PATCH)
    in_loader = batches(PatchDataset(CASES, pipeline, settings(**more)), 0, 6, 2, 0)
    raw = batches(PatchDataset(CASES, None, settings(**more)), 0, 6, 2, workers)
    augment = BatchAugment(pipeline)
    return list(in_loader), [augmented(batch, augment, 3, torch.device("cpu")) for batch in raw]


def equal(one: dict, other: dict) -> bool:
    return list(one["id"]) == list(other["id"]) and all(
        torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype
        for key in ("image", "target", "weight")
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_augmented_as_a_batch_on_the_device_patches_are_bit_identical_to_those_of_the_loader(preset: str) -> None:
    in_loader, on_device = both_ways(TransformsConfig(preset=preset))  # type: ignore[arg-type]

    assert len(on_device) == 6
    assert all(equal(one, other) for one, other in zip(in_loader, on_device, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_raw_batches_are_the_same_from_any_number_of_workers(workers: int) -> None:
    in_loader, on_device = both_ways(TransformsConfig(), workers, random_rater=True)

    assert all(equal(one, other) for one, other in zip(in_loader, on_device, strict=True))


def test_a_raw_patch_is_small_stored_numbers_with_its_margin() -> None:
    item = PatchDataset(CASES[:1], None, settings())[0]

    assert (item["image"].dtype, item["labels"].dtype) == (torch.int16, torch.int16)
    assert item["image"].shape == (1, 12, 12, 12)  # 8 and ceil(8 * 0.5 / 2) at either side
    assert item["seed"] == (0, 0, 0) and item["id"] == "c1"


def test_a_donor_is_another_case_and_changes_nothing_else() -> None:
    marked = [StoredCase(c.id, torch.full_like(c.hu, number), c.labels, c.places) for number, c in enumerate(CASES)]
    plain, with_donors = (PatchDataset(marked, None, settings(donors=donors)) for donors in (False, True))

    for number in range(30):
        item, alone = with_donors[number], plain[number]
        own, others = item["image"].max(), set(item["donor"].unique().tolist()) - {AIR_HU}
        assert others and own.item() not in others
        assert torch.equal(item["image"], alone["image"]) and "donor" not in alone


def test_tissue_of_the_donor_is_the_same_in_the_loader_and_on_the_device() -> None:
    tissue = OcclusionConfig(probability=1.0, fills=("tissue",), size_mm=(3, 9))

    in_loader, on_device = both_ways(TransformsConfig(preset="none", steps=(tissue,)), donors=True)

    assert all(equal(one, other) for one, other in zip(in_loader, on_device, strict=True))


def read_by(name: str, *raters: str, known: list[list[bool]] | None = None) -> StoredCase:
    """Every rater marks all of the case with their own letter: A class 1, B class 2."""
    labels = torch.stack([torch.full((12, 12, 12), "_AB".index(rater), dtype=torch.int16) for rater in raters])
    seen = None if known is None else torch.tensor(known)
    return StoredCase(name, torch.zeros(1, 12, 12, 12, dtype=torch.int16), labels, {}, raters, seen)


TOLD = PatchSettings(PATCH, SamplingConfig(), classes=3, random_rater=True, seed=0, raters=("A", "B"))


def test_the_network_is_told_whose_reading_it_is_and_a_missing_rater_is_never_an_empty_one() -> None:
    dataset = PatchDataset([read_by("c1", "A", "B"), read_by("c2", "B"), read_by("c3", "A")], None, TOLD)

    seen = Counter()
    for number in range(60):
        item = dataset[number]
        seen[item["id"], item["rater"]] += 1
        assert (item["labels"][:, 3:-3, 3:-3, 3:-3] == item["rater"] + 1).all()  # inside the image never background

    assert set(seen) == {("c1", 0), ("c1", 1), ("c2", 1), ("c3", 0)}
    assert min(seen[("c1", 0)], seen[("c1", 1)]) > 4


@pytest.mark.parametrize("workers", [0, 2])
def test_raters_places_and_what_was_looked_for_are_the_same_from_any_number_of_workers(workers: int) -> None:
    partly = read_by("c1", "A", "B", known=[[True, True, False], [True, False, True]])
    cases = [partly, read_by("c2", "B")]
    pipeline = build_pipeline(TransformsConfig(), mirror_pairs=((1, 2),), spacing_mm=(1.5, 1.5, 3), patch_shape=PATCH)
    dataset = PatchDataset(cases, pipeline, TOLD)
    raw = batches(PatchDataset(cases, None, TOLD), 0, 6, 2, workers)

    for step, batch in enumerate(raw):
        moved = augmented(batch, BatchAugment(pipeline), 3, torch.device("cpu"))
        alone = [dataset[2 * step], dataset[2 * step + 1]]
        assert moved["rater"].tolist() == [item["rater"] for item in alone]
        assert moved["place"] == [item["place"] for item in alone]
        assert torch.equal(moved["known"], torch.stack([item["known"] for item in alone]))
        assert torch.equal(moved["target"], torch.stack([item["target"] for item in alone]))


def test_the_place_of_a_patch_is_its_first_voxel_in_words() -> None:
    plain = PatchSettings((12, 12, 8), SamplingConfig(margin_share=0), classes=3, random_rater=False, seed=0)

    assert PatchDataset([case("c1")], None, plain)[0]["place"].startswith("voxel 0, 0, ")
    assert PatchDataset([case("c1")], None, plain)[0]["place"].endswith(" of the standardised grid")


def test_a_flip_renames_what_was_looked_for_as_it_renames_the_labels() -> None:
    left = read_by("c1", "A", known=[[True, True, False]])  # looked for the left one only, and marked all of it
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=(FlipConfig(probability=0.5),)),
                              mirror_pairs=((1, 2),), patch_shape=PATCH)  # fmt: skip
    dataset = PatchDataset([left], pipeline, TOLD)

    seen = set()
    for number in range(20):
        item = dataset[number]
        (marked,) = item["target"].flatten(1).any(1).nonzero().flatten().tolist()
        seen.add((marked, tuple(item["known"].tolist())))

    assert seen == {(1, (True, True, False)), (2, (True, False, True))}


def test_items_hold_what_was_looked_for_only_where_somebody_left_something_out(make_patches: MakePatches) -> None:
    partly = StoredCase("c2", *_voxels(case("c2")), known=torch.tensor([[True, True, False]] * 3))

    assert "known" not in make_patches(case("c1"))[0]
    assert all("known" in make_patches(case("c1"), partly)[number] for number in range(2))


def _voxels(of: StoredCase) -> tuple[Any, Any, Any]:
    return of.hu, of.labels, of.places
