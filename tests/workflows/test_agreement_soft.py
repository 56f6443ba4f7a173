"""`agree` with a model that leaves probabilities beside its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.io.manifest import Dataset
from medseg.io.nifti import read_label_values, write_labels, write_probabilities
from medseg.workflows.agreement import agree
from tests.workflows.test_agreement import GRID
from tests.workflows.test_agreement import dataset as dataset  # a fixture

FAST: dict[str, Any] = {"draws": 200}


def write_shares(dataset: Dataset, folder: Path, scale: float = 1.0) -> None:
    """The readers' own shares as the model's probabilities of the lesion: nothing can be better calibrated."""
    for case in dataset.cases:
        drawn = [read_label_values(dataset.root / f"{reader}/{case.id}.nii.gz")[0] == 1 for reader in "AB"]
        share = scale * np.mean(drawn, axis=0)
        write_probabilities(folder / f"{case.id}.nii.gz", np.stack([1 - share, share, 0 * share], axis=3), GRID)


def test_the_readers_own_shares_are_perfectly_calibrated(dataset, tmp_path):
    write_shares(dataset, tmp_path / "net/probabilities")
    result = agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)
    ours = result["labels"]["lesion"]["models"]["net"]
    found = ours["probabilities"]
    assert found["n"] == 3 and found["domain"] == "union of the readers dilated by 10 mm"
    assert found["ece_soft"]["mean"] == pytest.approx(0) and found["brier_soft"]["mean"] == pytest.approx(0)
    assert found["soft_dice"]["mean"] == pytest.approx(1) and found["qubiq_dice"]["mean"] == pytest.approx(1)
    assert found["ece"]["mean"] > 0.01  # no reader is the share
    known = [k for k, voxels in enumerate(ours["reliability"]["voxels"]) if voxels]
    for key in ("probability", "observed_soft"):
        assert [ours["reliability"][key][k] for k in known] == pytest.approx([0, 0.5, 1])
    assert "probabilities" not in result["labels"]["other"]["models"]["net"]  # nobody marked it
    assert (tmp_path / "out/figures/reliability_lesion.svg").exists()
    assert "Probabilities" in (tmp_path / "out/report.html").read_text()
    assert "probabilities/c0.nii.gz" in str(result["provenance"]["input_sha256"])


def test_changed_probabilities_are_scored_again(dataset, tmp_path):
    write_shares(dataset, tmp_path / "net/probabilities")
    agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)
    write_shares(dataset, tmp_path / "net/probabilities", scale=0.8)
    again = agree(dataset, tmp_path / "net", out=tmp_path / "out", overwrite=True, **FAST)
    fresh = agree(dataset, tmp_path / "net", out=tmp_path / "fresh", **FAST)
    assert again == fresh
    assert again["labels"]["lesion"]["models"]["net"]["probabilities"]["ece_soft"]["mean"] > 0.01


def test_probabilities_outside_0_to_1_are_refused(dataset, tmp_path):
    write_shares(dataset, tmp_path / "net/probabilities", scale=7.0)
    with pytest.raises(InputError):
        agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)


def write_samples(dataset: Dataset, folder: Path, readers: str) -> None:
    for case in dataset.cases:
        for k, reader in enumerate(readers):
            labels, grid = read_label_values(dataset.root / f"{reader}/{case.id}.nii.gz")
            write_labels(folder / case.id / f"{k}.nii.gz", labels.astype(np.uint8), grid)


def test_samples_that_are_the_readers_own_outlines_vary_as_they_do(dataset, tmp_path):
    write_shares(dataset, tmp_path / "net/probabilities")
    write_samples(dataset, tmp_path / "net/samples", "AB")
    result = agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)
    found = result["labels"]["lesion"]["models"]["net"]["samples"]
    assert (found["samples"], found["readers"], found["n"]) == (2, 2, 3)
    assert found["ged2"]["mean"] == pytest.approx(0) and found["hungarian_iou"]["mean"] == pytest.approx(1)
    # two volumes as forecast, each of them as outcome: E|X - y| - E|X - X'| / 2 = (d - d / 2) / 2
    assert found["crps_volume_ml"]["ensemble"]["mean"] > 0
    assert "samples/c0/0.nii.gz" in str(result["provenance"]["input_sha256"])
    assert "samples" not in result["labels"]["other"]["models"]["net"]  # nobody marked it


def test_changed_samples_are_scored_again(dataset, tmp_path):
    write_samples(dataset, tmp_path / "net/samples", "AB")
    agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)
    write_samples(dataset, tmp_path / "net/samples", "AA")
    again = agree(dataset, tmp_path / "net", out=tmp_path / "out", overwrite=True, **FAST)
    found = again["labels"]["lesion"]["models"]["net"]["samples"]
    assert found["ged2"]["mean"] > 0.001  # A alone is not what A and B are together
