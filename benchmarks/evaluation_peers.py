"""The tools that people score masks with today, each called as its documentation shows.

Each function imports its tool itself: one that is not installed costs its own row and no other. surface-distance,
MetricsReloaded and panoptica are not among our requirements; `pip install --no-deps surface-distance` into the
environment is enough for the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.shapes import BoolArray, IntArray, Triple

Numbers = dict[str, float]
FULL = 95


def surface_distance_pair(a: BoolArray, b: BoolArray, spacing_mm: Triple, tolerance_mm: float) -> Numbers:
    """Dice, surface Dice, HD, HD95 and the mean of both average distances, by area."""
    import surface_distance as peer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls names that scipy has deprecated
        found = peer.compute_surface_distances(a, b, spacing_mm)
    return {
        "dice": float(peer.compute_dice_coefficient(a, b)),
        "nsd": float(peer.compute_surface_dice_at_tolerance(found, tolerance_mm)),
        "hd": float(peer.compute_robust_hausdorff(found, 100)),
        "hd95": float(peer.compute_robust_hausdorff(found, FULL)),
        "masd": float(np.mean(peer.compute_average_surface_distance(found))),
    }


def monai_pair(a: BoolArray, b: BoolArray, spacing_mm: Triple, tolerance_mm: float) -> Numbers:
    """Dice, NSD over border voxels, HD95 and ASSD."""
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.surface_dice import compute_surface_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    one, other = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (a, b))
    whole: dict[str, Any] = {"include_background": True, "spacing": list(spacing_mm)}
    return {
        "dice": float(compute_dice(other.float(), one.float())),
        "nsd": float(compute_surface_dice(other, one, [tolerance_mm], **whole)),
        "hd95": float(compute_hausdorff_distance(other, one, percentile=FULL, **whole)),
        "assd": float(compute_average_surface_distance(other, one, symmetric=True, **whole)),
    }


def monai_more(a: BoolArray, b: BoolArray, spacing_mm: Triple, tolerance_mm: float) -> Numbers:
    """HD, and NSD by area as MONAI's `use_subvoxels` gives it."""
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    one, other = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (a, b))
    whole: dict[str, Any] = {"include_background": True, "spacing": list(spacing_mm)}
    return {
        "hd": float(compute_hausdorff_distance(other, one, **whole)),
        "nsd_subvoxels": float(compute_surface_dice(other, one, [tolerance_mm], use_subvoxels=True, **whole)),
    }


def metrics_reloaded_pair(a: BoolArray, b: BoolArray, spacing_mm: Triple, tolerance_mm: float) -> Numbers:
    """Dice, NSD, HD, HD95, ASSD and MASD over border voxels."""
    from MetricsReloaded.metrics.pairwise_measures import BinaryPairwiseMeasures

    peer = BinaryPairwiseMeasures(
        b.astype(np.int64),
        a.astype(np.int64),
        pixdim=list(spacing_mm),
        dict_args={"nsd": tolerance_mm, "hd_perc": FULL},
    )
    hd, assd, hd95, masd = peer.measured_distance()
    return {
        "dice": float(peer.dsc()),
        "nsd": float(peer.normalised_surface_distance()),
        "hd": float(hd),
        "hd95": float(hd95),
        "assd": float(assd),
        "masd": float(masd),
    }


def simpleitk_pair(a: BoolArray, b: BoolArray, spacing_mm: Triple, tolerance_mm: float) -> Numbers:
    """Dice; HD95 and ASSD over border voxels and NSD, from signed distance maps as ITK's examples take them.

    SimpleITK's Hausdorff filter measures volumes and knows no percentile, so its users take the distance map of each
    border and read it at the other border.
    """
    import SimpleITK as sitk

    images = []
    for mask in (a, b):
        image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).astype(np.uint8))
        image.SetSpacing([float(step) for step in spacing_mm])
        images.append(image)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    padded = [sitk.ConstantPad(image, [1] * 3, [1] * 3, 0) for image in images]
    borders = [sitk.LabelContour(image) for image in padded]
    maps = [
        sitk.GetArrayFromImage(
            sitk.Abs(sitk.SignedMaurerDistanceMap(border, squaredDistance=False, useImageSpacing=True))
        )
        for border in borders
    ]
    marked = [sitk.GetArrayViewFromImage(border) > 0 for border in borders]
    there, back = maps[1][marked[0]], maps[0][marked[1]]
    near = np.count_nonzero(there <= tolerance_mm) + np.count_nonzero(back <= tolerance_mm)
    return {
        "dice": float(overlap.GetDiceCoefficient()),
        "nsd": near / (len(there) + len(back)),
        "hd95": float(max(np.percentile(there, FULL), np.percentile(back, FULL))),
        "assd": float((there.sum() + back.sum()) / (len(there) + len(back))),
    }


class ArraysAsFiles:
    """Stands where nnU-Net's evaluator reads files: the "files" are arrays, so that no disk is timed."""

    def __init__(self, arrays: dict[str, IntArray]) -> None:
        self.arrays = arrays

    def read_seg(self, name: str) -> tuple[Any, dict[str, Any]]:
        return self.arrays[name].T[None], {}


def nnunet_dice(arrays: dict[str, IntArray], a: str, b: str, labels: list[int]) -> list[float]:
    """Dice of every label by nnU-Net's evaluator."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics

    reader: Any = ArraysAsFiles(arrays)
    found = compute_metrics(a, b, reader, labels)
    return [float(found["metrics"][label]["Dice"]) for label in labels]


def simpleitk_staple(masks: Sequence[BoolArray]) -> tuple[Any, list[float], list[float]]:
    """Probability (X, Y, Z), sensitivities and specificities.

    The copies into ITK's images are timed, as they are part of using it on arrays.
    """
    import SimpleITK as sitk

    staple = sitk.STAPLEImageFilter()
    staple.SetForegroundValue(1)
    images = [sitk.GetImageFromArray(mask.T.view(np.uint8)) for mask in masks]
    found = staple.Execute(images)
    return sitk.GetArrayFromImage(found).T, list(staple.GetSensitivity()), list(staple.GetSpecificity())


def panoptica_pair(a: BoolArray, b: BoolArray, spacing_mm: Triple, tolerance_mm: float) -> Numbers:
    """Dice and the mean of both average distances of one structure, in an environment of its own (2.1.7).

    What panoptica calls ASSD is that mean. HD95 is computed too but not given: it pools both directions, as none of our
    definitions does. For whole structures it leaves the spacing out, so the spacing must be 1 mm.
    """
    from panoptica import InputType, Metric, Panoptica_Evaluator

    assert set(spacing_mm) == {1.0}
    peer = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE,
        instance_metrics=[],
        global_metrics=[Metric.DSC, Metric.ASSD, Metric.HD95],
    )
    found = peer.evaluate(b.astype(np.uint8), a.astype(np.uint8), voxelspacing=spacing_mm, verbose=False)[
        "ungrouped"
    ].to_dict()
    return {key: float(found[f"global_bin_{name}"]) for key, name in (("dice", "dsc"), ("masd", "assd"))}
