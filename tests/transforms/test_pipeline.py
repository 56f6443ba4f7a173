"""The pipeline: one seed, one result; one resampling; the registry and what a recipe may say."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch.utils.data import DataLoader, Dataset

from medseg.config import build_config, read_config, write_config
from medseg.errors import ConfigError, GeometryError, UsageError
from medseg.transforms.flip import FlipConfig
from medseg.transforms.pipeline import AnyStep, TransformsConfig, build_pipeline
from medseg.transforms.registry import EVERY_STEP
from medseg.transforms.spatial import AffineConfig
from medseg.transforms.steps import _changed
from medseg.transforms.warp import AffineParams, Warp, warp_image, warp_labels
from medseg.transforms.window import WindowConfig, window_image

SHAPE = (21, 17, 13)  # odd, so that no axis divides evenly between threads
PAIRS = ((1, 2),)
NAMES = [step.name for step in EVERY_STEP]
ALWAYS = tuple(step.model_copy(update={"probability": 1.0}) for step in EVERY_STEP)


def make_sample(number: int = 0, shape=SHAPE) -> dict:
    generator = torch.Generator().manual_seed(number)
    image = torch.randn(1, *shape, generator=generator) * 200
    labels = torch.randint(-1, 4, (3, *shape), dtype=torch.int16, generator=generator)
    return {"image": image, "labels": labels, "case": f"c{number}"}


def make_pipeline(*steps: AnyStep):
    return build_pipeline(TransformsConfig(preset="none", steps=steps), mirror_pairs=PAIRS, spacing_mm=(1.5, 1.5, 3.0))


def same(a: dict, b: dict) -> bool:
    return torch.equal(a["image"], b["image"]) and torch.equal(a["labels"], b["labels"])


class Patches(Dataset):
    """Eight augmented patches, as a trainer would ask for them."""

    def __init__(self) -> None:
        self.pipeline = make_pipeline(*ALWAYS)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(make_sample(index), seed=(7, 0, index, 0))


def test_no_steps_return_the_sample_unchanged():
    sample = make_sample()
    result = make_pipeline()(sample, seed=(0, 0, 0, 0))
    assert result == sample and result["image"] is sample["image"]


def test_same_seed_gives_the_same_patch_and_another_seed_another():
    pipeline, sample = make_pipeline(*ALWAYS), make_sample()
    first = pipeline(sample, seed=(1, 2, 3, 4))
    assert same(first, pipeline(sample, seed=(1, 2, 3, 4)))
    for position in range(4):
        seed = [1, 2, 3, 4]
        seed[position] += 1
        assert not torch.equal(first["image"], pipeline(sample, seed=seed)["image"])


@pytest.mark.parametrize("workers", [1, 2])
def test_same_patches_with_any_number_of_workers(workers):
    patches = Patches()
    loaded = DataLoader(patches, batch_size=None, num_workers=workers)
    assert all(same(patch, patches[index]) for index, patch in enumerate(loaded))


@pytest.mark.parametrize("step", ALWAYS, ids=NAMES)
def test_result_does_not_depend_on_the_number_of_threads(step):
    before = torch.get_num_threads()
    pipeline, sample = make_pipeline(step), make_sample(shape=(77, 61, 47))  # large enough to be shared by threads
    results = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(pipeline(sample, seed=(0, 0, 0, 1)))
    finally:
        torch.set_num_threads(before)
    assert same(*results[:2]) and same(*results[1:])


@pytest.mark.parametrize("step", ALWAYS, ids=NAMES)
def test_every_registered_transform_keeps_its_promises(step):
    shape = (17, 17, 13)  # two axes alike, which may change places
    sample = make_sample(shape=shape)
    kept = {key: value.clone() for key, value in sample.items() if key != "case"}
    pipeline = make_pipeline(step)

    result = pipeline(sample, seed=(0, 0, 0, 2))
    replayed = pipeline.apply(sample, pipeline.sample(shape, (1.5, 1.5, 3.0), (0, 0, 0, 2)))

    assert same(sample, kept), "the caller's tensors were changed"
    assert same(result, replayed)
    assert result["image"].shape == sample["image"].shape and result["image"].dtype == torch.float32
    assert torch.isfinite(result["image"]).all() and not torch.equal(result["image"], sample["image"])
    assert result["labels"].dtype == torch.int16 and set(result["labels"].unique().tolist()) <= {-1, 0, 1, 2, 3}
    assert result["case"] == "c0" and pickle.loads(pickle.dumps(pipeline)).keys == pipeline.keys


@pytest.mark.parametrize("step", ALWAYS, ids=NAMES)
def test_every_registered_transform_moves_raters_alike_and_soft_targets_too(step):
    sample = make_sample()
    hard = sample["labels"].clamp(min=0)
    hard[1:] = hard[:1]
    soft = torch.nn.functional.one_hot(hard[0].long(), 4).movedim(-1, 0).float()
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=(step,)), mirror_pairs=PAIRS,
                              label_keys=("labels", "soft"))  # fmt: skip

    result = pipeline({**sample, "labels": hard, "soft": soft}, seed=(0, 0, 0, 3))

    assert torch.equal(result["labels"][0], result["labels"][1]) and torch.equal(
        result["labels"][0], result["labels"][2]
    )
    torch.testing.assert_close(result["soft"].sum(0), torch.ones(SHAPE), atol=1e-5, rtol=0)
    agree = (result["soft"].argmax(0) == result["labels"][0])[result["soft"].amax(0) > 0.9]
    assert agree.float().mean() > 0.99


@pytest.mark.parametrize("step", EVERY_STEP, ids=NAMES)
def test_probability_zero_never_acts_but_for_the_window(step):
    pipeline = make_pipeline(step.model_copy(update={"probability": 0.0}))
    drawn = [pipeline.sample(SHAPE, (1, 1, 1), (0, 0, 0, patch))[0] for patch in range(20)]
    assert all((params is not None) == (step.name == "window") for params in drawn)


def test_affine_and_elastic_together_resample_once():
    pipeline, sample = make_pipeline(*ALWAYS[:2]), make_sample()
    affine, elastic = pipeline.sample(SHAPE, (1.5, 1.5, 3.0), (0, 0))
    once = warp_image(sample["image"], replace(affine, elastic=elastic.elastic))
    assert NAMES[:2] == ["affine", "elastic"]
    torch.testing.assert_close(pipeline(sample, seed=(0, 0))["image"], once)


def test_switching_one_transform_off_leaves_what_the_others_draw():
    drawn = make_pipeline(*ALWAYS).sample(SHAPE, (1, 1, 1), (5, 5, 5, 5))
    without_flip = make_pipeline(*ALWAYS[:2], *ALWAYS[3:]).sample(SHAPE, (1, 1, 1), (5, 5, 5, 5))
    assert drawn[:2] + drawn[3:] == without_flip


def test_two_steps_of_one_name_draw_differently():
    noise = ALWAYS[NAMES.index("noise")]
    first, second = make_pipeline(noise, noise).sample(SHAPE, (1, 1, 1), (0, 0))
    assert first != second


def test_a_sample_may_carry_its_spacing():
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=ALWAYS[:1]))
    result = pipeline({**make_sample(), "spacing_mm": (1.5, 1.5, 3.0)}, seed=(1, 1))
    assert same(result, make_pipeline(*ALWAYS[:1])(make_sample(), seed=(1, 1)))
    assert not same(result, pipeline(make_sample(), seed=(1, 1)))


def test_labels_may_be_absent_when_said_so():
    pipeline = build_pipeline(TransformsConfig(), allow_missing_keys=True)
    assert set(pipeline({"image": torch.zeros(1, 8, 8, 8)}, seed=(0,))) == {"image"}


@pytest.mark.parametrize("seed", [(), (1, -1), (0.5,), 3])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(UsageError, match="whole numbers"):
        make_pipeline(*ALWAYS)(make_sample(), seed=seed)


def test_recipe_text_round_trips(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("preset: default\nsteps:\n- {name: affine, rotation_deg: 30}\n- {name: flip, probability: 0}\n")
    config = read_config(path, TransformsConfig)
    affine = config.complete()[0]
    assert isinstance(affine, AffineConfig) and affine.rotation_deg == (30, 30, 30)
    write_config(path, config)
    assert read_config(path, TransformsConfig) == config


def test_the_former_name_of_the_default_set_is_read_as_its_present_one():
    assert build_config(TransformsConfig, {"preset": "default"}) == TransformsConfig(preset="ct_default")


def test_a_step_that_the_set_lacks_runs_just_before_the_window():
    bare = TransformsConfig(preset="none", steps=[AffineConfig(), WindowConfig()])
    assert [step.name for step in _changed(bare.steps, (FlipConfig(), AffineConfig()))] == ["affine", "flip", "window"]


def test_contrast_and_gamma_work_in_the_recipes_window():
    config = build_config(TransformsConfig, {"steps": [{"name": "window", "window_hu": [-1000, 400]}]})
    assert {step.window_hu for step in config.complete() if step.name in ("contrast", "gamma", "window")} == {
        (-1000.0, 400.0)
    }


def test_at_inference_only_the_window_at_rest_remains():
    config = build_config(TransformsConfig, {"steps": [{"name": "window", "jitter_hu": 20}]}).at_inference()
    result = build_pipeline(config, label_keys=())({"image": torch.full((1, 2, 2, 2), 40.0)}, seed=(0,))
    assert [step.name for step in config.complete()] == ["window"]
    assert (result["image"] == 0.5).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": [{"name": "affin"}]}, r"unknown name.*did you mean 'affine'"),
        ({"steps": [{"name": "noise", "sigma": [0, 1]}]}, r"unknown key.*did you mean 'sigma_hu'"),
        ({"steps": [{"name": "flip", "probability": 2}]}, r"probability: wrong value.*less than or equal to 1"),
        ({"steps": [{"name": "flip"}, {"name": "flip"}]}, "every name once"),
        ({"preset": "none", "steps": [{"name": "window"}, {"name": "noise"}]}, "noise before the window step.*HU"),
        ({"preset": "none", "steps": [{"name": "window"}, {"name": "affine"}]}, "affine before the window.*outside_hu"),
        ({"preset": "none", "steps": [{"name": "window"}, {"name": "window"}]}, "one window step"),
        ({"preset": "strong"}, "preset: wrong value"),
    ],
)
def test_wrong_recipes_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        build_config(TransformsConfig, wrong)


def test_streams_of_seeds_of_different_length_differ():
    noise = make_pipeline(ALWAYS[NAMES.index("noise")])
    assert noise.sample(SHAPE, (1, 1, 1), (1,)) != noise.sample(SHAPE, (1, 1, 1), (1, 0))


def test_default_set_flips_about_half_of_the_patches():
    pipeline = build_pipeline(TransformsConfig())
    flips = [pipeline.sample((8, 8, 8), (1, 1, 1), (0, 0, 0, patch))[NAMES.index("flip")] for patch in range(400)]
    assert abs(np.mean([params is not None for params in flips]) - 0.5) < 0.1  # 4 standard errors


def test_patch_is_cut_from_the_middle_of_a_larger_sample():
    sample = make_sample()
    result = build_pipeline(TransformsConfig(preset="none"), patch_shape=(11, 8, 13))(sample, seed=(0,))
    assert torch.equal(result["image"], sample["image"][:, 5:16, 4:12])
    assert torch.equal(result["labels"], sample["labels"][:, 5:16, 4:12])


@pytest.mark.parametrize("shape", [(11, 9, 7), (10, 8, 6)])
def test_cut_with_a_warp_equals_the_warp_about_the_same_centre_and_then_the_cut(shape):
    start = [(n - wanted) // 2 for n, wanted in zip(SHAPE, shape, strict=True)]
    about = tuple(-(n - 1) / 2 + s + (w - 1) / 2 for n, s, w in zip(SHAPE, start, shape, strict=True))
    turn = AffineParams(rotation_deg=(0.0, 0.0, 20.0))
    moved_centre = turn.matrix @ about  # rotating about the patch's centre = about the sample's, then shifted back
    shift = AffineParams(turn.rotation_deg, translation_mm=tuple(about - moved_centre))
    labels = make_sample()["labels"]

    cut = warp_labels(labels, Warp((1.0, 1.0, 1.0), turn, patch_shape=shape))
    whole = warp_labels(labels, Warp((1.0, 1.0, 1.0), shift))

    assert torch.equal(cut, whole[:, *(slice(s, s + w) for s, w in zip(start, shape, strict=True))])


def test_corners_of_a_turned_patch_are_filled_from_the_margin():
    affine = AffineConfig(probability=1, rotation_deg=(0, 0, 45), scale=(1, 1))
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=(affine,)), patch_shape=(16, 16, 8))
    sample = {"image": torch.full((1, 32, 32, 10), 40.0), "labels": torch.ones(1, 32, 32, 10, dtype=torch.int16)}
    result = pipeline(sample, seed=(0, 0))
    assert result["image"].shape == (1, 16, 16, 8)
    torch.testing.assert_close(result["image"], torch.full((1, 16, 16, 8), 40.0))
    assert (result["labels"] == 1).all()


@pytest.mark.parametrize("steps", [(), ALWAYS[:2], ALWAYS])
def test_affine_of_a_cut_patch_points_at_the_same_anatomy(steps):
    pipeline = build_pipeline(
        TransformsConfig(preset="none", steps=steps), patch_shape=(11, 8, 6), spacing_mm=(1, 1, 1)
    )
    image = MetaTensor(make_sample()["image"], affine=torch.eye(4))
    moved = pipeline({"image": image, "labels": make_sample()["labels"]}, seed=(0, 0))["image"]
    centre = torch.tensor([5.0, 3.5, 2.5, 1.0], dtype=moved.affine.dtype)
    assert (moved.affine @ centre).tolist()[:3] == pytest.approx([10.0, 7.5, 5.5])  # starts 5, 4, 3


def test_patch_larger_than_the_sample_is_refused():
    with pytest.raises(GeometryError, match="Pad the sample"):
        build_pipeline(TransformsConfig(), patch_shape=(64, 8, 8))(make_sample(), seed=(0,))


@pytest.mark.parametrize("outside", [0.3, "repeat"])
def test_a_window_before_a_resampling_is_the_window_of_the_whole_sample(outside):
    turn = AffineConfig(probability=1, rotation_deg=25, outside_hu=outside)
    both = make_pipeline(WindowConfig(window_hu=(-100, 100)), turn)
    sample, seed = make_sample(), (3, 1)
    windowed = sample | {"image": window_image(sample["image"], (-100, 100))}

    result, expected = both(sample, seed=seed), make_pipeline(turn)(windowed, seed=seed)

    assert torch.allclose(result["image"], expected["image"], atol=1e-5)
    assert torch.equal(result["labels"], expected["labels"])
