"""What all CT steps keep: bits on any number of threads, the same on either path, nothing read back from a device."""

import numpy as np
import pytest
import torch

from medseg.transforms import fourier, projection
from medseg.transforms.beam_hardening import BeamHardeningConfig
from medseg.transforms.contrast_phase import ContrastPhaseConfig
from medseg.transforms.dose import DoseConfig
from medseg.transforms.entries import Entries
from medseg.transforms.metal import MetalConfig
from medseg.transforms.missing_slices import MissingSlicesConfig
from medseg.transforms.motion import MotionConfig
from medseg.transforms.occlusion import BlankRectanglesConfig, OcclusionConfig
from medseg.transforms.truncation import TruncationConfig

SPACING = (1.5, 1.5, 2.5)
RAYS = [DoseConfig(probability=1, dose=(0.1, 0.2)), MetalConfig(probability=1), BeamHardeningConfig(probability=1),
        MotionConfig(probability=1)]  # fmt: skip
STEPS = [*RAYS, ContrastPhaseConfig(probability=1), TruncationConfig(probability=1), MissingSlicesConfig(probability=1),
         OcclusionConfig(probability=1), BlankRectanglesConfig(probability=1)]  # fmt: skip
OCCLUSIONS = [OcclusionConfig(probability=1, fills=(fill,), outlines=(outline,))
              for fill in ("mean", "noise", "tissue") for outline in ("box", "blob")]  # fmt: skip


def each(steps):
    return pytest.mark.parametrize("config", steps, ids=[step.name for step in steps])


def body(shape=(52, 44, 10)) -> Entries:
    """A cylinder of uneven tissue in air, and two raters' labels."""
    x, y = (np.linspace(-1, 1, n) for n in shape[:2])
    inside = torch.from_numpy(np.hypot(x[:, None], y[None]) < 0.8)[..., None]
    hu = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)) * 200 + 50
    image = torch.where(inside, hu, torch.tensor(-1000.0))
    labels = torch.randint(-1, 4, (2, *shape), dtype=torch.int16, generator=torch.Generator().manual_seed(1))
    return Entries({"image": image}, {"labels": labels}, SPACING, torch.randn(1, 9, 60, 4))


def applied(config, entries: Entries) -> Entries:
    step = config.build()
    return step.apply_entries(entries, step.sample(np.random.default_rng(3), entries.shape, SPACING))


@each(STEPS)
def test_threads_do_not_change_a_bit(config):
    entries, before = body(), torch.get_num_threads()
    torch.set_num_threads(1)
    alone = applied(config, entries).images["image"]
    for threads in (2, 5):
        torch.set_num_threads(threads)
        assert torch.equal(applied(config, entries).images["image"], alone)
    torch.set_num_threads(before)


@each(STEPS)
def test_given_tensors_stay_and_something_changes(config):
    entries = body()
    result = applied(config, entries)
    assert torch.equal(entries.images["image"], body().images["image"])
    assert torch.equal(entries.labels["labels"], body().labels["labels"])
    changed = result.images["image"] != entries.images["image"]
    assert bool(changed.any()) or config.name == "blank_rectangles"  # which passes over a channel half the time


@each(STEPS)
@pytest.mark.parametrize("shape", [(1, 17, 6), (16, 1, 6), (17, 16, 1), (1, 1, 1)], ids=str)
def test_images_one_voxel_thick_are_taken(config, shape):
    step, entries = config.build(), body(shape)
    params = step.sample(np.random.default_rng(0), shape, SPACING)
    result = entries if params is None else step.apply_entries(entries, params)
    assert result.images["image"].shape == (2, *shape) and bool(torch.isfinite(result.images["image"]).all())


@each(RAYS)
def test_torch_path_gives_what_the_compiled_one_gives(config, monkeypatch):
    compiled = applied(config, body()).images["image"]
    monkeypatch.setattr(projection, "_project_compiled", projection._project_torch)
    monkeypatch.setattr(projection, "_backproject_compiled", projection._backproject_torch)
    monkeypatch.setattr("medseg.transforms.dose.from_spectrum", fourier._from_spectrum_torch)
    monkeypatch.setattr("medseg.transforms.motion.from_spectrum", fourier._from_spectrum_torch)
    torch.testing.assert_close(applied(config, body()).images["image"], compiled, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize(
    "config", [*STEPS, *OCCLUSIONS], ids=[f"{step.name}-{number}" for number, step in enumerate([*STEPS, *OCCLUSIONS])]
)
def test_no_value_is_read_back_from_the_device(config):
    """Meta tensors have no values: whoever asks for one gets an error."""
    here = body()
    away = Entries({"image": here.images["image"].to("meta")}, {"labels": here.labels["labels"].to("meta")}, SPACING,
                   torch.zeros(1, 9, 60, 4, device="meta"))  # fmt: skip
    image = applied(config, away).images["image"]
    assert image.device.type == "meta" and image.shape == here.images["image"].shape and image.dtype == torch.float32
