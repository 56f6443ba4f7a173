"""STAPLE against SimpleITK, the golden numbers and what the definition says about missing, empty and huge images."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import UsageError
from medseg.evaluation.domain import WHOLE, Domain, dilate
from medseg.evaluation.patterns import Patterns, count_patterns
from medseg.evaluation.staple import Staple, staple, staple_map

UNIT = (1.0, 1.0, 1.0)


def itk(masks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sensitivities, specificities and the probability map of ITK's filter."""
    method = sitk.STAPLEImageFilter()
    method.SetForegroundValue(1)
    result = method.Execute([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks])
    return np.array(method.GetSensitivity()), np.array(method.GetSpecificity()), sitk.GetArrayFromImage(result)


def on(masks, domain: Domain = WHOLE, spacing_mm=UNIT) -> Staple:
    return staple(count_patterns(masks, spacing_mm=spacing_mm, domain=domain))


def noisy_balls(readers: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((16, 15, 14)) - 7
    sizes = rng.normal(25, 6, readers)
    return [x**2 + y**2 + z**2 < size + rng.normal(0, 6, x.shape) for size in sizes]


@pytest.mark.parametrize(("readers", "seed"), [(2, 0), (3, 1), (4, 2), (5, 3), (7, 4)])
def test_equals_itk_on_the_whole_image(readers, seed):
    masks = noisy_balls(readers, seed)
    sensitivity, specificity, expected = itk(masks)
    probability, _, found = staple_map(masks, spacing_mm=UNIT, domain=WHOLE)
    assert found.converged and found.sensitivity == pytest.approx(sensitivity, abs=1e-4)
    assert found.specificity == pytest.approx(specificity, abs=1e-4)
    assert probability == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("readers", [3, 4, 6])
def test_perfect_readers_as_the_start_end_at_the_same_values_from_three_readers_on(readers):
    patterns = count_patterns(noisy_balls(readers, readers), spacing_mm=UNIT, domain=WHOLE)
    votes, perfect = staple(patterns), staple(patterns, start="perfect")
    assert perfect.sensitivity == pytest.approx(votes.sensitivity, abs=1e-6)
    assert perfect.specificity == pytest.approx(votes.specificity, abs=1e-6)


def test_an_unknown_start_lists_the_known_ones():
    with pytest.raises(UsageError, match="one of votes, perfect"):
        staple(count_patterns(noisy_balls(2, 0), spacing_mm=UNIT), start="coin")


def test_equals_itk_on_the_voxels_of_the_same_domain():
    masks = noisy_balls(3, 5)
    inside = dilate(np.any(masks, axis=0), UNIT, 2.0)
    sensitivity, specificity, _ = itk([mask[inside][None, None] for mask in masks])
    found = on(masks, Domain(2.0))
    assert found.voxels == inside.sum() and found.domain == "union of the readers dilated by 2 mm"
    assert found.sensitivity == pytest.approx(sensitivity, abs=1e-4)
    assert found.specificity == pytest.approx(specificity, abs=1e-4)


def test_equals_itk_on_sixty_real_nodules(shared_data):
    folders = sorted((shared_data / "lidc_nodules").iterdir())
    assert len(folders) == 60
    for folder in folders:
        images = [nib.Nifti1Image.from_filename(folder / f"reader{k}.nii.gz") for k in (1, 2, 3, 4)]
        masks = [np.asarray(image.dataobj) > 0 for image in images]
        sensitivity, specificity, _ = itk(masks)
        found = on(masks)
        assert found.converged and found.sensitivity == pytest.approx(sensitivity, abs=1e-4), folder.name
        assert found.specificity == pytest.approx(specificity, abs=1e-4), folder.name


def test_worked_example(golden, masks):
    expected = golden["worked_example"]["expected"]
    readers = [masks[f"worked/rater{k}"] for k in (1, 2, 3)]
    probability, _, found = staple_map(readers, spacing_mm=(3.0, 1.0, 1.0), domain=WHOLE)
    assert found.sensitivity == pytest.approx(expected["staple_sitk"]["sensitivity"], abs=1e-5)
    assert found.specificity == pytest.approx(expected["staple_sitk"]["specificity"], abs=1e-5)
    assert found.prior == pytest.approx(44 / 108)  # 16 + 12 + 16 marked of 3 x 36
    assert (probability >= 0.5).sum() == expected["staple_sitk"]["voxels_ge_half"]
    weights = {"".join(map(str, row)): w for row, w in zip(found.votes, found.probability, strict=True)}
    assert weights == pytest.approx(expected["staple_sitk"]["w_by_pattern"], abs=1e-4)
    assert found.elected == 0 and ((probability >= 0.5) == readers[0]).all()  # the first reader decides alone


def test_the_domain_changes_the_prior_and_the_result(golden, masks):
    readers = [np.pad(masks[f"worked/rater{k}"], ((0, 0), (20, 20), (20, 20))) for k in (1, 2, 3)]
    expected = golden["worked_example"]["expected"]["staple_sitk_padded20"]
    padded, tight = on(readers), on(readers, Domain(0.0))
    assert padded.sensitivity == pytest.approx(expected["sensitivity"], abs=1e-5)
    assert padded.prior < 0.03 < 0.7 < tight.prior
    assert abs(padded.sensitivity - tight.sensitivity).max() > 0.02


def test_golden_readers_of_a_nodule_and_of_cubes(golden, masks):
    nodule = golden["multi_rater"]["L1_lidc_nodule_four_readers"]["expected"]
    probability, _, found = staple_map(
        [masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)], spacing_mm=UNIT, domain=WHOLE
    )
    assert found.sensitivity == pytest.approx(nodule["staple_sens"], abs=1e-6)
    assert found.specificity == pytest.approx(nodule["staple_spec"], abs=1e-6)
    assert (probability >= 0.5).sum() == nodule["staple_voxels"]
    shifted = golden["multi_rater"]["M03_two_raters_shift"]["expected"]
    found = on([masks["multi/cube"], masks["multi/cube_shift_x1"]])
    assert found.sensitivity == pytest.approx(shifted["staple_sens"], abs=1e-6)
    assert sorted(found.probability)[:2] == pytest.approx(shifted["W_unique"][:2], abs=1e-5)


def test_a_reader_who_missed_the_structure_has_sensitivity_zero(golden, masks):
    expected = golden["multi_rater"]["M02_one_rater_missed"]["expected"]["staple"]
    found = on([masks["multi/cube"], masks["multi/cube"], masks["multi/empty"]])
    assert found.sensitivity.tolist() == expected["sens"] and found.specificity.tolist() == expected["spec"]
    assert found.converged and found.iterations < 10


def test_an_unread_slice_is_missing_and_not_empty(masks):
    cube, read = masks["multi/cube"], np.ones((7, 1, 1), dtype=bool)
    read[2] = False
    part = [cube, cube, cube & read]
    missing = staple(count_patterns(part, [None, None, read], spacing_mm=UNIT, domain=WHOLE))
    assert missing.sensitivity == pytest.approx([1, 1, 1], abs=1e-6)
    assert on(part).sensitivity[2] == pytest.approx(2 / 3, abs=1e-4)  # what calling it empty would say


def test_sensitivity_counts_only_what_the_reader_read():
    votes = np.array([[0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, -1]], dtype=np.int8)
    found = staple(Patterns(votes, np.array([1000, 30, 10, 60]), ""))
    assert found.sensitivity == pytest.approx([1, 1, 0.75], abs=1e-3)


def test_more_than_2_to_the_24_voxels_keep_their_small_shares():
    votes = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=np.int8)
    counts = np.array([2**33, 1, 3, 5], dtype=np.int64)  # eight thousand million voxels; single floats stop at 2^24
    found = staple(Patterns(votes, counts, ""))
    assert found.prior == pytest.approx((1 + 2 * 3 + 3 * 5) / (3 * counts.sum()), rel=1e-12)
    assert found.sensitivity == pytest.approx([1, 1, 5 / 8], abs=1e-6) and found.voxels == counts.sum()
    assert found.specificity[2] == pytest.approx(1 - 1 / 2**33, abs=1e-15)


def test_nobody_marked_anything_is_undefined_for_sensitivity_and_empty_as_a_map():
    empty = np.zeros((3, 3, 3), dtype=bool)
    probability, known, found = staple_map([empty, empty], spacing_mm=UNIT, domain=WHOLE)
    assert not probability.any() and known.all() and found.prior == 0 and found.converged
    assert np.isnan(found.sensitivity).all() and found.specificity.tolist() == [1, 1]
    assert np.isnan(on([empty, empty], Domain()).prior)


def test_everybody_marked_the_whole_domain(masks):
    found = on([masks["multi/cube"]] * 2, Domain(0.0))
    assert found.prior == 1 and found.probability.tolist() == [1.0]
    assert found.sensitivity.tolist() == [1, 1] and np.isnan(found.specificity).all()


def test_a_stop_before_convergence_is_said(masks):
    patterns = count_patterns([masks[f"worked/rater{k}"] for k in (1, 2, 3)], spacing_mm=UNIT, domain=WHOLE)
    found = staple(patterns, most_iterations=3)
    assert found.iterations == 3 and not found.converged and found.as_dict()["converged"] is False


def test_forty_readers_do_not_underflow():
    rng = np.random.default_rng(0)
    votes = (rng.random((200, 40)) < np.where(rng.random(200) < 0.3, 0.9, 0.1)[:, None]).astype(np.int8)
    found = staple(Patterns(votes, np.ones(200, dtype=np.int64), ""))
    assert found.converged and np.isfinite(found.probability).all() and 0.2 < found.probability.mean() < 0.4
