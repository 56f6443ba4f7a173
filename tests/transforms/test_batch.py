"""Batches: equal to the loop over the items, in every precision, as a module, with parameters known or drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor, nn

from medseg.errors import ConfigError, GeometryError, LabelError, UsageError
from medseg.transforms.batch import BatchAugment, apply_batch
from medseg.transforms.flip import FlipConfig, FlipParams
from medseg.transforms.noise import NoiseConfig
from medseg.transforms.occlusion import OcclusionConfig
from medseg.transforms.pipeline import Pipeline, build_pipeline
from medseg.transforms.presets import PRESETS
from medseg.transforms.spatial import AffineConfig
from medseg.transforms.steps import TransformsConfig
from medseg.transforms.window import WindowConfig

SEEDS = [(0, 0, case, 0) for case in range(3)]
SPACING_MM = (1.5, 1.5, 3.0)


def pair(shape: tuple[int, int, int] = (16, 14, 12), count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, *shape, generator=generator) * 200
    return images, torch.randint(0, 3, (count, 2, *shape), generator=generator).to(torch.int16)


def pipeline(*steps, preset="none", **options) -> Pipeline:
    return build_pipeline(TransformsConfig(preset=preset, steps=steps), spacing_mm=SPACING_MM, **options)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_equals_the_loop_for_every_preset_bit_by_bit(preset):
    images, labels = pair()
    whole = pipeline(preset=preset, mirror_pairs=((1, 2),), patch_shape=(12, 12, 10))

    new_images, new_labels = BatchAugment(whole)(images, labels, seeds=SEEDS)

    for i, seed in enumerate(SEEDS):
        alone = whole({"image": images[i], "labels": labels[i]}, seed=seed)
        assert torch.equal(new_images[i], alone["image"]) and torch.equal(new_labels[i], alone["labels"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_come_back_as_they_came(dtype):
    images, labels = pair()
    augment = BatchAugment("ct_default", spacing_mm=SPACING_MM)

    result, _ = augment(images.to(dtype), labels, seeds=SEEDS)

    exact, _ = augment(images.to(dtype).float(), labels, seeds=SEEDS)
    assert result.dtype == dtype and torch.equal(result, exact.to(dtype))


def test_without_labels_the_images_alone_come_back():
    images, _ = pair()
    result = BatchAugment("nnunet", spacing_mm=SPACING_MM)(images)
    assert isinstance(result, Tensor) and result.shape == images.shape


def test_known_parameters_are_applied_again():
    images, labels = pair()
    augment = BatchAugment("ct_strong", spacing_mm=SPACING_MM)
    first = augment(images, labels)
    again = augment(images, labels, params=augment.params)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_own_seeds_differ_between_items_and_calls_and_start_anew_with_the_random_state():
    images = pair()[0][:1].repeat(2, 1, 1, 1, 1)
    augment = BatchAugment(pipeline(NoiseConfig(probability=1)))
    first, second = augment.set_random_state(3)(images), augment(images)
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)
    assert torch.equal(augment.set_random_state(3)(images), first)
    assert not torch.equal(augment.set_random_state(4)(images), first)


def test_in_eval_mode_only_the_window_and_the_cut_remain():
    images, labels = pair()
    rest = pipeline(WindowConfig(), patch_shape=(12, 12, 10))
    augment = BatchAugment(pipeline(WindowConfig(jitter_hu=20), preset="ct_strong", patch_shape=(12, 12, 10))).eval()
    expected = rest({"image": images[0], "labels": labels[0]}, seed=(0,))
    result, _ = augment(images, labels)
    assert torch.equal(result[0], expected["image"]) and torch.equal(augment(images), result)


def test_items_of_different_shape_are_cut_to_one_patch():
    images, labels = zip(*(pair((n, 14, 12), 1) for n in (16, 20)), strict=True)
    augment = BatchAugment("ct_default", spacing_mm=SPACING_MM, patch_shape=(12, 12, 10))
    result, _ = augment([image[0] for image in images], [label[0] for label in labels])
    assert result.shape == (2, 1, 12, 12, 10)


def test_a_batch_of_metatensors_stays_one_and_its_affines_follow():
    affine = torch.diag(torch.tensor([1.5, 1.5, 3.0, 1.0], dtype=torch.float64))
    images = [MetaTensor(image, affine=affine) for image in pair()[0]]
    result = BatchAugment(pipeline(FlipConfig(probability=1)))(images)
    assert isinstance(result, MetaTensor) and result.affine.shape == (3, 4, 4)
    assert result.affine[0, 0].tolist() == [-1.5, 0, 0, 22.5]  # 15 voxels of 1.5 mm


def test_each_item_may_have_a_spacing_of_its_own():
    images, labels = pair(count=2)
    free = build_pipeline(TransformsConfig(preset="none", steps=(AffineConfig(probability=1),)))
    augment = BatchAugment(free)
    augment(images, labels, spacing_mm=[(1.0, 1.0, 1.0), (1.0, 1.0, 2.0)])
    assert [params[0].spacing_mm for params in augment.params] == [(1, 1, 1), (1, 1, 2)]


def test_tissue_comes_from_the_next_item_of_the_batch():
    images = torch.stack([torch.full((1, 12, 12, 12), float(value)) for value in (10, 20, 30)])
    steps = OcclusionConfig(probability=1, fills=("tissue",), outlines=("box",))
    result = BatchAugment(pipeline(steps))(images)
    assert [sorted(item.unique().tolist()) for item in result] == [[10, 20], [20, 30], [10, 30]]


def test_one_transform_on_a_batch_leaves_items_without_parameters_alone():
    images, labels = pair(count=2)
    flip = FlipConfig().build(mirror_pairs=((1, 2),))
    new_images, new_labels = apply_batch(flip, images, labels, [None, FlipParams((0,))])
    assert torch.equal(new_images[0], images[0]) and torch.equal(new_images[1], images[1].flip(1))
    assert new_labels is not None and torch.equal(new_labels[1] == 2, (labels[1] == 1).flip(1))


def test_it_is_a_module_without_weights_or_state():
    augment = BatchAugment("ct_default")
    assert isinstance(augment, nn.Module) and not list(augment.parameters()) and not augment.state_dict()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, x, y: a(x, y, seeds=[(0,)]), UsageError, "not one seed for each item; expected 3, got 1"),
        (lambda a, x, y: a(x, y, params=[()]), UsageError, "not one set of parameters"),
        (lambda a, x, y: a(x, y[:2]), UsageError, "not one of labels for each image"),
        (lambda a, x, y: a(x, y, donors=x[:1]), UsageError, "not one of donors"),
        (lambda a, x, y: a(y, y), LabelError, "holds integers"),
        (lambda a, x, y: a([x[0], x[1, :, :8], x[2]]), GeometryError, "different shapes.*patch_shape"),
        (lambda a, x, y: a(x[:, 0]), GeometryError, r"no batch; expected \(B, C, X, Y, Z\)"),
        (lambda a, x, y: a(x[:0]), UsageError, "the batch is empty"),
        (lambda a, x, y: a(x, y, spacing_mm=(1, 1, 2)), UsageError, "the spacing is given twice"),
        (lambda a, x, y: BatchAugment("none")(x, spacing_mm=(1, -1, 2)), GeometryError, "three positive lengths"),
        (lambda a, x, y: BatchAugment("none", patch_shape=(8, 8)), GeometryError, "three numbers of voxels"),
        (lambda a, x, y: BatchAugment("ct_default", mirror_pairs=(1, 2)), LabelError, "not pairs of classes"),
        (lambda a, x, y: BatchAugment("ct_defalt"), ConfigError, "preset"),
        (lambda a, x, y: BatchAugment(a.pipeline, spacing_mm=SPACING_MM), UsageError, "already built; got spacing_mm"),
    ],
    ids=[
        "seeds",
        "params",
        "labels",
        "donors",
        "integers",
        "shapes",
        "channel axis",
        "empty",
        "two spacings",
        "spacing",
        "patch",
        "pairs",
        "preset",
        "options",
    ],
)
def test_wrong_calls_say_what_is_wrong(call, error, message):
    augment = BatchAugment(pipeline(WindowConfig()))
    with pytest.raises(error, match=message):
        call(augment, *pair())


def import_lightning() -> Any:
    """The library; skipped where it is not whole, as beside a torchvision that was built for another torch."""
    try:
        import pytorch_lightning
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"pytorch_lightning cannot be imported: {error}")
    return pytorch_lightning


@pytest.mark.filterwarnings("ignore")  # Lightning's own: torch's older tree functions, advice on workers
def test_lightning_augments_each_batch_after_its_transfer():
    lightning = import_lightning()

    class Segmentation(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.augment = BatchAugment("ct_default", spacing_mm=SPACING_MM, patch_shape=(12, 12, 10))
            self.network, self.seen = nn.Conv3d(1, 3, 1), []

        def on_after_batch_transfer(self, batch, dataloader_idx):
            images, labels = self.augment(batch["image"], batch["labels"])
            return {"image": images, "labels": labels}

        def training_step(self, batch, batch_idx):
            self.seen.append(tuple(batch["image"].shape))
            return nn.functional.cross_entropy(self.network(batch["image"]), batch["labels"][:, 0].long())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    images, labels = pair(count=4)
    samples = [{"image": image, "labels": label} for image, label in zip(images, labels, strict=True)]
    module = Segmentation()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }

    lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(module, torch.utils.data.DataLoader(samples, 2))

    assert module.seen == [(2, 1, 12, 12, 10)] * 2
