"""Predicts one CT with an exported network; needs numpy, scipy, SimpleITK, and onnxruntime or torch, not medseg.

Usage: python predict_without_medseg.py model.onnx ct.nii.gz labels.nii.gz
       python predict_without_medseg.py model.pt2 dicom-folder labels.nii.gz

RESEARCH USE ONLY - NOT REVIEWED
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

Array = Any
AIR_HU = -1024.0
BODY_HU = -300.0
NOWHERE = -1e4  # the logit of every structure where the grid does not reach


def load(path: str) -> tuple[Callable[[Array], Array], dict[str, Any]]:
    """The network as a function of HU (1, 1, X, Y, Z), and its metadata."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map["medseg"]
        return (lambda hu: session.run(None, {"hu": hu})[0]), json.loads(metadata)
    import torch

    files = {"medseg": ""}
    module = torch.export.load(path, extra_files=files).module()

    def run(hu: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(hu)).numpy()

    return run, json.loads(files["medseg"])


def read(path: str) -> sitk.Image:
    """A CT in HU: a file, or the one series of a DICOM folder."""
    if Path(path).is_dir():
        path = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(path)  # type: ignore[assignment]
    return sitk.Cast(sitk.ReadImage(path), sitk.sitkFloat32)


def is_limb(piece: Array, spacing_mm: Array) -> bool:
    """Whether a piece is as thick as an arm or a leg: a tenth of it lies 12 mm deep; tables are thinner."""
    if np.count_nonzero(piece) * np.prod(spacing_mm) < 4 / 3 * np.pi * 12.0**3:
        return False
    depth_mm = ndimage.distance_transform_edt(piece, sampling=spacing_mm.tolist()) - spacing_mm.min() / 2
    return bool(np.count_nonzero(depth_mm >= 12.0) >= 0.1 * np.count_nonzero(piece))


def crop_to_body(image: sitk.Image, margin_mm: float) -> sitk.Image:
    """The box around the largest piece denser than air and all limbs, searched every 4 mm, with a margin."""
    spacing = np.array(image.GetSpacing())
    step = np.maximum(np.floor(4.0 / spacing), 1).astype(int)
    hu = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    pieces, count = ndimage.label(hu[:: step[0], :: step[1], :: step[2]] > BODY_HU)  # type: ignore[misc]
    if not count:
        return image
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    ends = []
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        if number == largest or is_limb(pieces[around] == number, spacing * step):
            ends.append([(side.start, side.stop) for side in box])
    margin = np.maximum(np.ceil(margin_mm / spacing).astype(int), step - 1)
    start = np.maximum(np.min(ends, axis=0)[:, 0] * step - margin, 0)
    stop = np.minimum(np.max(ends, axis=0)[:, 1] * step + margin, hu.shape)
    return sitk.RegionOfInterest(image, (stop - start).tolist(), start.tolist())


def to_grid(image: sitk.Image, spacing_mm: list[float]) -> sitk.Image:
    """The image with axes towards right, anterior, superior and the network's spacing, around the same centre."""
    image = sitk.DICOMOrient(image, "RAS")
    size, old, new = np.array(image.GetSize()), np.array(image.GetSpacing()), np.array(spacing_mm)
    shape = np.maximum(np.round(size * old / new), 1).astype(int)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    centre = np.array(image.GetOrigin()) + direction @ (old * (size - 1) / 2)
    origin = centre - direction @ (new * (shape - 1) / 2)
    return sitk.Resample(image, shape.tolist(), sitk.Transform(), sitk.sitkLinear, origin.tolist(), list(spacing_mm),
                         image.GetDirection(), AIR_HU)  # fmt: skip


def starts(n: int, patch: int, overlap: float) -> list[int]:
    """Where patches begin along an axis: evenly, at most (1 - overlap) of a patch apart."""
    count = int(np.ceil((n - patch) / (patch * (1 - overlap)))) + 1 if n > patch else 1
    return [round(number * (n - patch) / max(count - 1, 1)) for number in range(count)]


def gaussian(length: int) -> Array:
    """Weights along an axis of a patch, 1 in its middle, nowhere 0."""
    line = ndimage.gaussian_filter1d(np.eye(length)[length // 2], length / 8, mode="constant")
    return np.maximum(line, line[line > 0].min()) / line.max()


def slide(run: Callable[[Array], Array], hu: Array, metadata: dict[str, Any]) -> Array:
    """Logits (C, X, Y, Z) of the whole image, patches weighed by a Gaussian of an eighth of their size."""
    patch = metadata["patch"]
    pad = [(max(p - n, 0) // 2, max(p - n, 0) - max(p - n, 0) // 2) for n, p in zip(hu.shape, patch, strict=True)]
    hu = np.pad(hu, pad, constant_values=min(float(hu.min()), AIR_HU))
    weight = np.einsum("i,j,k->ijk", *map(gaussian, patch)).astype(np.float32)
    total = np.zeros((len(metadata["classes"]), *hu.shape), dtype=np.float32)
    weights = np.zeros(hu.shape, dtype=np.float32)
    for corner in product(*[starts(n, p, metadata["overlap"]) for n, p in zip(hu.shape, patch, strict=True)]):
        box = tuple(slice(first, first + p) for first, p in zip(corner, patch, strict=True))
        total[:, *box] += run(np.ascontiguousarray(hu[box])[None, None])[0] * weight
        weights[box] += weight
    keep = tuple(slice(before, n - after) for (before, after), n in zip(pad, hu.shape, strict=True))
    return (total / weights)[:, *keep]


def mirrored(run: Callable[[Array], Array], hu: Array, metadata: dict[str, Any]) -> Array:
    """Logits (C, X, Y, Z), averaged over the mirrorings that the run predicts with."""
    axes, order = metadata["mirror_axes"], list(range(len(metadata["classes"])))
    for first, second in metadata["mirror_pairs"]:  # a mirrored patient has left and right exchanged
        order[first], order[second] = second, first
    mirrorings = [chosen for number in range(len(axes) + 1) for chosen in combinations(axes, number)]
    total: Array = 0.0
    for flips in mirrorings:
        flipped = np.ascontiguousarray(np.flip(hu, flips))
        logits = np.flip(slide(run, flipped, metadata), tuple(axis + 1 for axis in flips))
        exchanged = 0 in flips if metadata["mirror_swap"] == "side" else len(flips) % 2 == 1
        total = total + (logits[order] if exchanged else logits)
    return total / len(mirrorings)


def predict(network: str, ct: str, out: str) -> None:
    """Writes the label map of a CT on the CT's own grid, in the data set's own label values."""
    run, metadata = load(network)
    image = read(ct)
    inside = crop_to_body(image, metadata["margin_mm"]) if metadata["crop_to_body"] else image
    grid = to_grid(inside, metadata["spacing_mm"])
    logits = mirrored(run, sitk.GetArrayFromImage(grid).transpose(2, 1, 0), metadata)
    best: Array = None
    labels: Array = None
    for index, value in enumerate(metadata["labels"].values()):
        score = sitk.GetImageFromArray(np.ascontiguousarray(logits[index].transpose(2, 1, 0)))
        score.CopyInformation(grid)
        outside = 0.0 if index == 0 else NOWHERE
        own = sitk.GetArrayFromImage(sitk.Resample(score, image, sitk.Transform(), sitk.sitkLinear, outside))
        if labels is None:
            best, labels = own, np.full(own.shape, value, dtype=np.int16)
            continue
        labels[own > best] = value
        best = np.maximum(best, own)
    result = sitk.GetImageFromArray(labels)
    result.CopyInformation(image)
    sitk.WriteImage(result, out, useCompression=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    predict(*sys.argv[1:])
