"""STAPLE and kappas of whole studies: who takes part, what enters the means, the real readers of a nodule."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.evaluation.domain import WHOLE, Domain
from medseg.evaluation.voxel_agreement import VoxelAgreement, kappa_entry, score_voxels, staple_entry
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.workflows.outputs import plain

LABELS = LabelSet({"background": 0, "nodule": 1})
LIDC = Path(__file__).parents[1] / "data" / "lidc"


def reading(mask: np.ndarray, **facts) -> LabelMap:
    return LabelMap(mask.astype(np.uint8), Geometry(mask.shape, np.eye(4)), LABELS, **facts)


def scored(*masks: np.ndarray, domain: Domain = WHOLE) -> VoxelAgreement:
    return score_voxels({f"R{k}": reading(mask) for k, mask in enumerate(masks, 1)}, domain=domain)["nodule"]


@pytest.fixture
def worked(masks) -> VoxelAgreement:
    return scored(*(masks[f"worked/rater{k}"] for k in (1, 2, 3)))


def test_one_case_gives_its_own_numbers(worked):
    kappa, consensus = kappa_entry([worked], ["p"]), staple_entry([worked], ["p"])
    assert kappa is not None and consensus is not None
    assert kappa["fleiss"] == pytest.approx(0.578125) and kappa["ci95"]["fleiss"] is None
    sensitivities = [consensus["raters"][rater]["sensitivity"] for rater in ("R1", "R2", "R3")]
    assert sensitivities == pytest.approx([1, 0.765687, 0.760765], abs=1e-5)
    assert kappa["domain"] == consensus["domain"] == "whole image"


def test_cases_of_one_patient_are_averaged_first(worked, masks):
    perfect = scored(*[masks["multi/cube"]] * 3)
    kappa = kappa_entry([worked, worked, perfect], ["p", "p", "q"])
    assert kappa is not None
    assert kappa["fleiss"] == pytest.approx((0.578125 + 1) / 2)
    assert (kappa["n"]["fleiss"], kappa["n_patients"]["fleiss"]) == (3, 2)


def test_a_case_without_agreement_beyond_chance_does_not_enter(worked, masks):
    empty = scored(*[masks["multi/empty"]] * 3)
    kappa, consensus = kappa_entry([worked, empty], ["p", "q"]), staple_entry([worked, empty], ["p", "q"])
    assert kappa is not None and consensus is not None
    assert kappa["fleiss"] == pytest.approx(0.578125) and kappa["n"]["fleiss"] == 1
    of_r2 = {"sensitivity": 0.765686, "specificity": 1, "elected": 0, "n": 1}
    assert consensus["raters"]["R2"] == pytest.approx(of_r2, abs=1e-5)
    assert consensus["n"] == 2


def test_who_did_not_look_takes_no_part_and_one_reader_is_no_agreement(masks):
    cube = masks["multi/cube"]
    blind = reading(cube, labelled=())
    found = score_voxels({"A": reading(cube), "B": blind, "C": reading(cube)})
    assert found["nodule"].raters == ("A", "C")
    assert score_voxels({"A": reading(cube), "B": blind}) == {} == score_voxels({})


def test_a_rater_who_decides_alone_is_counted(worked, masks):
    together = scored(*[masks["multi/cube"]] * 2, masks["multi/empty"])
    entry = staple_entry([worked, together], ["p", "q"])
    assert entry is not None
    assert [entry["raters"][rater]["elected"] for rater in ("R1", "R2", "R3")] == [1, 0, 0]


def test_nothing_scored_has_no_entry():
    assert kappa_entry([], []) is None and staple_entry([], []) is None


def test_entries_can_be_written_as_json(worked, masks):
    empty = scored(*[masks["multi/empty"]] * 3, domain=Domain())
    for entry in (kappa_entry([empty], ["p"]), staple_entry([empty], ["p"]), kappa_entry([worked], ["p"])):
        assert json.loads(json.dumps(plain(entry), allow_nan=False))["domain"]


def test_four_real_readers_of_a_nodule():
    images = [nib.Nifti1Image.from_filename(LIDC / f"reader{k}.nii.gz") for k in (1, 2, 3, 4)]
    masks = [np.asarray(image.dataobj) > 0 for image in images]
    near, whole = (scored(*masks, domain=domain) for domain in (Domain(), WHOLE))
    assert near.kappa.voxels < whole.kappa.voxels and near.kappa.fleiss < whole.kappa.fleiss
    assert 0.7 < near.kappa.conformity == whole.kappa.conformity < 0.9  # their mean pairwise Dice is 0.878
    sizes = [mask.sum() for mask in masks]
    assert near.staple.converged and np.argmin(sizes) == np.argmin(near.staple.sensitivity)
