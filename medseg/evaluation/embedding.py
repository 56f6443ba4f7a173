"""Readers and models as points in the plane: those that agree lie near each other.

Classical multidimensional scaling (Torgerson 1952, Psychometrika 17:401) of the mean disagreement of every pair: 1
minus a score, or a distance as it is. The plane is a picture and no statistic: `stress` says how far the drawn
distances are off, and where a model lies between readers it may simply be an average of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.pairwise import PairwiseMatrix
from medseg.shapes import FloatArray

CLOSE = 1e-9  # relative: eigenvalues that differ by less are a tie
NUDGE = 1e-6  # relative: by so much distances of earlier names are stretched to break a tie
RULE = (
    "classical multidimensional scaling of the mean disagreement of pairs; the first axis holds the largest spread; "
    "each axis points to the side of the name that lies farthest out on it, on a tie the first such name; "
    "equal spreads are told apart by the order of the names"
)


@dataclass(frozen=True)
class Embedding:
    """Coordinates in the unit of the disagreement.

    Args:
        points: by name (x, y), centred on 0; empty where `reason` says why.
        stress: root of the squared errors of the drawn distances over the squared distances (Kruskal's stress-1): 0
            is exact, above 0.2 the picture misleads; NaN without points.
        share: part of the total squared eigenvalues that the two axes hold, 0 to 1.
        filled: pairs who shared no case and were placed by the shortest way over others.
        reason: why there is no picture, or empty.
    """

    points: dict[str, tuple[float, float]]
    stress: float
    share: float
    filled: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    rule: str = RULE


def embed(matrix: PairwiseMatrix) -> Embedding:
    """The picture of a matrix of pairs; the same for the same matrix on every machine.

    None is drawn for fewer than two names, or where some cannot be reached from others over shared cases.
    """
    known = disagreement(matrix)
    if len(known) < 2:
        return _without("fewer than two readers or models")
    first, second = np.nonzero(~np.isnan(known))  # listed, because in a dense matrix a 0 would be no way
    ways = csr_matrix((known[first, second], (first, second)), shape=known.shape)
    distances = shortest_path(ways, directed=False)
    if np.isinf(distances).any():
        return _without("some shared no case with the others, not even by way of a third")
    gaps = np.argwhere(np.triu(np.isnan(known), 1))
    distances = np.where(np.isnan(known), distances, known)
    points, share = classical_scaling(distances)
    drawn = np.linalg.norm(points[:, None] - points[None, :], axis=-1)
    total = float(np.sum(distances**2))
    stress = float(np.sqrt(np.sum((drawn - distances) ** 2) / total)) if total > 0 else 0.0
    places = {name: (float(x), float(y)) for name, (x, y) in zip(matrix.names, points, strict=True)}
    return Embedding(places, stress, share, tuple((matrix.names[i], matrix.names[j]) for i, j in gaps))


def disagreement(matrix: PairwiseMatrix) -> FloatArray:
    """Mean disagreement (N, N) of pairs, 0 on the diagonal, NaN where no case was shared."""
    found = matrix.mean if METRICS[matrix.metric].is_distance else 1.0 - matrix.mean
    found = np.array(found, dtype=np.float64)
    np.fill_diagonal(found, 0.0)
    return found


def classical_scaling(distances: FloatArray) -> tuple[FloatArray, float]:
    """Points (N, 2) whose distances come near the given ones (N, N), and the share of squared eigenvalues they hold.

    Exact where the distances are those of points in a plane.

    >>> points, share = classical_scaling(np.array([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]]))
    >>> float(round(np.linalg.norm(points[1] - points[2]), 6)), round(share, 6)
    (5.0, 1.0)
    """
    n = len(distances)
    values, vectors = _spectrum(distances)
    ordered = values[::-1][:3]
    if np.any(ordered[:-1] - ordered[1:] <= CLOSE * ordered[0]) and ordered[1] > CLOSE * ordered[0]:
        # no two directions are the largest (as for equal distances): the names' order decides, not the rounding
        rank = 1.0 / np.arange(1, n + 1)
        values, vectors = _spectrum(distances * (1 + NUDGE * (rank[:, None] + rank[None, :])))
    largest = [n - 1, n - 2]
    kept = np.maximum(values[largest], 0.0)
    kept[kept <= CLOSE * float(np.abs(values).max())] = 0.0  # rounding is no axis
    points = vectors[:, largest] * np.sqrt(kept)
    total = float(np.sum(values**2))
    return np.column_stack([_signed(axis) for axis in points.T]), float(np.sum(kept**2)) / total if total > 0 else 1.0


def _spectrum(distances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues from the smallest on and eigenvectors of the doubly centred squares."""
    centring = np.eye(len(distances)) - 1.0 / len(distances)
    values, vectors = np.linalg.eigh(-0.5 * centring @ distances**2 @ centring)
    return values, vectors


def _signed(axis: FloatArray) -> FloatArray:
    """The axis turned so that its farthest point lies on the positive side; on a tie the first such point."""
    far = np.abs(axis)
    first = int(np.argmax(far >= far.max() * (1 - 1e-6)))
    turned = -axis if axis[first] < 0 else axis
    return np.asarray(turned + 0.0)  # no negative zero


def _without(reason: str) -> Embedding:
    return Embedding({}, float("nan"), float("nan"), reason=reason)
