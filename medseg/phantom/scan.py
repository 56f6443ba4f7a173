"""From a Body to a CT: signed distances per structure, the truth, and noisy HU with partial volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medseg.imaging.geometry import Geometry
from medseg.phantom.anatomy import LABELS, Body
from medseg.phantom.shapes import ellipsoid, rotation, smooth_field, smooth_union, superellipse_tube
from medseg.shapes import FloatArray, IntArray

AIR_HU, TABLE_HU, SKIN_HU, SKIN_MM = -1000.0, -120.0, 10.0, 2.5
RIB_SPACING_MM, RIB_RADIUS_MM, RIB_SLOPE_MM = 32.0, 5.5, 30.0
OUTSIDE_MM = np.float32(1000.0)


@dataclass(frozen=True, eq=False)
class Scan:
    """One simulated study.

    Args:
        hu: (X, Y, Z) float32.
        distances_mm: per labelled structure the signed distance (X, Y, Z) to its true surface, negative inside;
            the structures of one kind (lungs, lesions) are united, and each lesion stands alone in `lesions_mm`.
        truth: (X, Y, Z) label values.
    """

    hu: FloatArray
    distances_mm: dict[str, FloatArray]
    lesions_mm: tuple[FloatArray, ...]
    truth: IntArray


def scan_body(body: Body, geometry: Geometry, rng: np.random.Generator) -> Scan:
    """Scans a body on a grid: warped anatomy, partial volume at every surface, a table, correlated noise."""
    points, upright = _body_points(body, geometry, rng)
    trunk = _trunk(body, points)
    distances, lesions = _structures(body, points, trunk)
    hu = _paint(body, points, upright, trunk, distances, lesions, voxel_mm=float(np.mean(geometry.spacing_mm)))
    hu += _noise(rng, geometry)
    return Scan(np.clip(np.round(hu), -1024, 3071).astype(np.float32), distances, lesions,
                label_surfaces(distances, lesions))  # fmt: skip


def label_surfaces(distances_mm: dict[str, FloatArray], lesions_mm: tuple[FloatArray, ...]) -> IntArray:
    """Label values (uint8) where a structure's distance is negative; later structures win, lesions lie in the liver."""
    labels = np.zeros(distances_mm["liver"].shape, dtype=np.uint8)
    for name in ("lungs", "bone", "liver", "spleen", "kidney_left", "kidney_right"):
        labels[distances_mm[name] < 0] = LABELS[name]
    for lesion in lesions_mm:
        labels[(lesion < 0) & (labels == LABELS["liver"])] = LABELS["lesion"]
    return labels


def _body_points(body: Body, geometry: Geometry, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Voxel centres in the warped body frame (3, X, Y, Z), and in the scanner's own upright frame, both in mm."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij")).reshape(3, -1).T
    upright = geometry.world(index)
    points = (upright - np.array(body.shift_mm)) @ rotation(body.pose_deg)
    grid = points.T.reshape(3, *geometry.shape).astype(np.float32)
    warp = np.stack([smooth_field(rng, geometry.shape, (5, 5, 5), 4.0) for _ in range(3)])
    return grid + warp, upright.T.reshape(3, *geometry.shape).astype(np.float32)


def _trunk(body: Body, points: FloatArray) -> FloatArray:
    taper = 1 - 0.05 * (points[2] / 150) ** 2
    return superellipse_tube(points, body.half_width_mm * taper, body.half_depth_mm * taper, 2.3)


def _structures(
    body: Body, points: FloatArray, trunk: FloatArray
) -> tuple[dict[str, FloatArray], tuple[FloatArray, ...]]:
    cavity = trunk + np.float32(body.fat_mm + body.muscle_mm)

    def united(name: str, blend_mm: float) -> FloatArray:
        distance = None
        for part in body.organs[name]:
            shape = ellipsoid(points, part.centre, part.radii, part.turn_deg)
            distance = shape if distance is None else smooth_union(distance, shape, blend_mm)
        assert distance is not None
        return distance

    bone = np.minimum(united("vertebrae", 6), _ribs(body, points, trunk))
    inside = {name: np.maximum(united(name, 15), cavity + 2) for name in ("lungs", "liver", "spleen")}
    kidneys = {name: np.maximum(united(name, 1), cavity + 2) for name in ("kidney_left", "kidney_right")}
    lesions = tuple(ellipsoid(points, lesion.centre, lesion.radii) for lesion in body.lesions)
    # What is painted later hides what lies below, so the surface that a reader sees is cut accordingly.
    liver = np.maximum(inside["liver"], -bone)
    spleen = np.maximum(inside["spleen"], -liver)
    lungs = np.maximum.reduce([inside["lungs"], -liver, -spleen, -bone])
    for name in kidneys:
        kidneys[name] = np.maximum.reduce([kidneys[name], -bone, -liver, -spleen])
    return {"lungs": lungs, "bone": bone, "liver": liver, "spleen": spleen, **kidneys}, lesions


def _ribs(body: Body, points: FloatArray, trunk: FloatArray) -> FloatArray:
    """Tubes in the muscle wall that fall towards the front, above the navel, open at the breastbone."""
    wall = trunk + np.float32(body.fat_mm + 0.5 * body.muscle_mm)
    fall = RIB_SLOPE_MM * points[1] / body.half_depth_mm
    height = (points[2] + fall + body.rib_phase_mm) % RIB_SPACING_MM - RIB_SPACING_MM / 2
    ribs = np.hypot(wall, height) - np.float32(RIB_RADIUS_MM)
    open_front = (np.abs(points[0]) < 35) & (points[1] > 0)
    return np.where((points[2] + fall < -30) | open_front, OUTSIDE_MM, ribs)


def _paint(
    body: Body,
    points: FloatArray,
    upright: FloatArray,
    trunk: FloatArray,
    distances: dict[str, FloatArray],
    lesions: tuple[FloatArray, ...],
    voxel_mm: float,
) -> FloatArray:
    hu = np.full(trunk.shape, AIR_HU, dtype=np.float32)

    def fill(distance: FloatArray, value: float) -> None:
        """Mixes by the share of the voxel that lies inside: partial volume, linear across one voxel."""
        share = np.clip(0.5 - distance / np.float32(voxel_mm), 0, 1)
        np.add(hu, share * (np.float32(value) - hu), out=hu)

    fill(_table(body, upright), TABLE_HU)
    fill(trunk, SKIN_HU)
    fill(trunk + np.float32(SKIN_MM), body.fat_hu)
    fill(trunk + np.float32(body.fat_mm), body.muscle_hu)
    cavity = trunk + np.float32(body.fat_mm + body.muscle_mm)
    fill(cavity, body.fat_hu)
    fill(distances["lungs"], body.lung_hu)
    for part in body.soft_tissue:
        fill(np.maximum(ellipsoid(points, part.centre, part.radii, part.turn_deg), cavity - 6), part.hu)
    fill(distances["bone"], body.bone_hu)
    for name in ("liver", "spleen", "kidney_left", "kidney_right"):
        fill(distances[name], body.organs[name][0].hu)
    for lesion, part in zip(lesions, body.lesions, strict=True):
        fill(np.maximum(lesion, distances["liver"]), part.hu)
    return hu


def _table(body: Body, upright: FloatArray) -> FloatArray:
    """A shallow trough under the back that does not turn with the patient."""
    depth = -(body.half_depth_mm + 14) + 6e-4 * upright[0] ** 2
    return np.maximum(np.abs(upright[1] - depth) - 7, np.abs(upright[0]) - 200).astype(np.float32)


def _noise(rng: np.random.Generator, geometry: Geometry) -> FloatArray:
    """Correlated noise of 14 to 22 HU: white noise through a kernel of about 0.6 voxels in the slice."""
    white = rng.standard_normal(geometry.shape).astype(np.float32)
    grain = gaussian_filter(white, (0.6, 0.6, 0.3))
    return grain * np.float32(rng.uniform(14, 22) / grain.std())
