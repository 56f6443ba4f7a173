"""A data set of tiny phantoms and a recipe that trains on it in a second."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medseg.io.manifest import read_dataset

RECIPE = """\
data: {data}
raters: soft
plan: {{spacing_mm: [12, 12, 14], patch: [16, 16, 16], window_hu: [-160, 240]}}
folds: {{count: 2, fold: 0}}
transforms:
  preset: none
  steps:
    - {{name: affine, probability: 0.5}}
    - {{name: noise, probability: 0.5}}
model: {{name: unet, channels: [4, 4, 8], deep_supervision: 1}}
training:
  steps: 4
  batch: 1
  validate_every: 4
  checkpoint_every: 2
  log_every: 1
  device: cpu
inference: {{overlap: 0.25}}
"""


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a data set: five cases of about 32 x 27 x 19 voxels, the last one in the split `test`; two experts."""
    from medseg.workflows import phantom

    folder = tmp_path_factory.mktemp("phantoms") / "data"
    phantom(folder, cases=5, experts=2, test=1, seed=3, spacing_mm=12.0)
    return folder


@pytest.fixture(scope="session")
def recipe_file(phantoms: Path) -> Path:
    path = phantoms.parent / "recipe.yaml"
    path.write_text(RECIPE.format(data=phantoms.as_posix()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run_folder(recipe_file: Path) -> Path:
    """A finished run; tests that change it copy it first."""
    import torch

    from medseg.workflows import train

    torch.set_num_threads(1)  # the number of threads decides the order of sums, and so the last bits
    out = recipe_file.parent / "run"
    train(recipe_file, out=out)
    return out


@pytest.fixture(scope="session")
def learned_run(recipe_file: Path) -> Path:
    """A run that has learned enough for its classes to be apart, so that rounding decides no voxel."""
    import torch

    from medseg.workflows import train

    torch.set_num_threads(1)
    out = recipe_file.parent / "learned"
    more = ["training.steps=80", "training.validate_every=80", "training.optimizer={name: adamw, learning_rate: 0.01}"]
    train(recipe_file, more, out=out)
    return out


@pytest.fixture(scope="session")
def held_out_image(phantoms: Path) -> Path:
    return read_dataset(phantoms).select("test")[0].image


@pytest.fixture
def one_thread() -> dict[str, str]:
    """Environment of processes that tests start."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
