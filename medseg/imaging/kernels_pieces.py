"""The compiled loops that find connected pieces of labels as runs: stretches of voxels along the fastest axis.

A run takes a few bytes however long it is, so the pieces of an organ fit into a fraction of the label map's memory.
Arrays are (A, B, C) with rows along C; row a * B + b holds the runs `rows[a * B + b]` to `rows[a * B + b + 1]`.
The twin is `scipy.ndimage.label`, which the tests hold against them.
"""

from __future__ import annotations

from medseg.imaging.compiled import compiled
from medseg.shapes import BoolArray, IntArray


@compiled
def is_one_of(value: int, wanted: IntArray) -> bool:
    """Whether a value is among the wanted ones; there are few."""
    for k in range(len(wanted)):  # noqa: SIM110 - numba compiles no any() over a generator
        if wanted[k] == value:
            return True
    return False


@compiled
def count_runs(labels: IntArray, wanted: IntArray, inverse: bool, rows: IntArray) -> None:
    """Sets `rows[1 + row]` to the number of runs of the wanted values, or with `inverse` of all others."""
    for a in range(labels.shape[0]):
        for b in range(labels.shape[1]):
            found, inside = 0, False
            for c in range(labels.shape[2]):
                hit = is_one_of(labels[a, b, c], wanted) != inverse
                found += hit and not inside
                inside = hit
            rows[1 + a * labels.shape[1] + b] = found


@compiled
def fill_runs(
    labels: IntArray, wanted: IntArray, inverse: bool, rows: IntArray, starts: IntArray, stops: IntArray
) -> None:
    """The first voxel of every run, and the one after its last."""
    for a in range(labels.shape[0]):
        for b in range(labels.shape[1]):
            run, inside = rows[a * labels.shape[1] + b], False
            for c in range(labels.shape[2]):
                hit = is_one_of(labels[a, b, c], wanted) != inverse
                if hit and not inside:
                    starts[run] = c
                if inside and not hit:
                    stops[run] = c
                    run += 1
                inside = hit
            if inside:
                stops[run] = labels.shape[2]


@compiled
def _root(parents: IntArray, run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@compiled
def _join_rows(
    one: int, other: int, rows: IntArray, starts: IntArray, stops: IntArray, reach: int, parents: IntArray
) -> None:
    """Joins the runs of two rows that lie beside each other, or with `reach` 1 also over a corner."""
    i, j = rows[one], rows[other]
    while i < rows[one + 1] and j < rows[other + 1]:
        if starts[i] < stops[j] + reach and starts[j] < stops[i] + reach:
            a, b = _root(parents, i), _root(parents, j)
            parents[max(a, b)] = min(a, b)
        if stops[i] < stops[j]:
            i += 1
        else:
            j += 1


@compiled
def join_runs(rows: IntArray, width: int, starts: IntArray, stops: IntArray, reach: int, pieces: IntArray) -> int:
    """Sets `pieces` to the number of each run's piece, counted from 0 in the order of their first runs; gives how many.

    Args:
        width: B, the rows of a plane.
        reach: 0 where voxels must share a face, 1 where a corner is enough.
        pieces: as long as there are runs.
    """
    for run in range(len(pieces)):
        pieces[run] = run
    for row in range(len(rows) - 1):
        b = row % width
        if b:
            _join_rows(row, row - 1, rows, starts, stops, reach, pieces)
        if row >= width:
            _join_rows(row, row - width, rows, starts, stops, reach, pieces)
            if reach and b:
                _join_rows(row, row - width - 1, rows, starts, stops, reach, pieces)
            if reach and b + 1 < width:
                _join_rows(row, row - width + 1, rows, starts, stops, reach, pieces)
    for run in range(len(pieces)):
        pieces[run] = _root(pieces, run)
    found = 0
    for run in range(len(pieces)):  # a root stands before all others of its piece
        if pieces[run] == run:
            pieces[run] = found
            found += 1
        else:
            pieces[run] = pieces[pieces[run]]
    return found


@compiled
def count_voxels(starts: IntArray, stops: IntArray, pieces: IntArray, voxels: IntArray) -> None:
    """Adds the voxels of every piece to `voxels`."""
    for run in range(len(pieces)):
        voxels[pieces[run]] += stops[run] - starts[run]


@compiled
def count_common(
    other: IntArray, wanted: IntArray, rows: IntArray, starts: IntArray, stops: IntArray, pieces: IntArray,
    common: IntArray,
) -> None:  # fmt: skip
    """Adds the voxels of every piece at which `other` (A, B, C) has a wanted value to `common`."""
    for row in range(len(rows) - 1):
        a, b = row // other.shape[1], row % other.shape[1]
        for run in range(rows[row], rows[row + 1]):
            for c in range(starts[run], stops[run]):
                common[pieces[run]] += is_one_of(other[a, b, c], wanted)


@compiled
def find_open(shape: tuple[int, int, int], rows: IntArray, starts: IntArray, stops: IntArray, pieces: IntArray,
              is_open: BoolArray) -> None:  # fmt: skip
    """Marks the pieces that reach a face of the array."""
    for row in range(len(rows) - 1):
        a, b = row // shape[1], row % shape[1]
        at_face = a == 0 or b == 0 or a == shape[0] - 1 or b == shape[1] - 1
        for run in range(rows[row], rows[row + 1]):
            if at_face or starts[run] == 0 or stops[run] == shape[2]:
                is_open[pieces[run]] = True


@compiled
def find_touching(labels: IntArray, wanted: IntArray, rows: IntArray, starts: IntArray, stops: IntArray,
                  pieces: IntArray, touching: BoolArray) -> None:  # fmt: skip
    """Marks the pieces that have a voxel of a wanted value beside them, be it over a corner."""
    for row in range(len(rows) - 1):
        a, b = row // labels.shape[1], row % labels.shape[1]
        for run in range(rows[row], rows[row + 1]):
            if touching[pieces[run]]:
                continue
            low, high = max(starts[run] - 1, 0), min(stops[run] + 1, labels.shape[2])
            for i in range(max(a - 1, 0), min(a + 2, labels.shape[0])):
                for j in range(max(b - 1, 0), min(b + 2, labels.shape[1])):
                    for c in range(low, high):
                        if is_one_of(labels[i, j, c], wanted):
                            touching[pieces[run]] = True


@compiled
def _vote(value: int, piece: int, wanted: IntArray, counting: bool, winners: IntArray, votes: IntArray,
          faces: IntArray) -> None:  # fmt: skip
    if is_one_of(value, wanted):
        return
    if counting:
        faces[piece] += 1
        votes[piece] += value == winners[piece]
    elif votes[piece] == 0:
        winners[piece], votes[piece] = value, 1
    else:
        votes[piece] += 1 if value == winners[piece] else -1


@compiled
def poll_faces(labels: IntArray, wanted: IntArray, rows: IntArray, starts: IntArray, stops: IntArray, pieces: IntArray,
               asked: BoolArray, counting: bool, winners: IntArray, votes: IntArray,
               faces: IntArray) -> None:  # fmt: skip
    """The value that surrounds each asked piece: first its only candidate, then with `counting` how many faces it has.

    Boyer and Moore's vote: a value that holds more than half of the faces is the one left over when unlike ones are
    struck out in pairs, so that a piece needs one counter and not one for every value.
    """
    for row in range(len(rows) - 1):
        a, b = row // labels.shape[1], row % labels.shape[1]
        for run in range(rows[row], rows[row + 1]):
            piece = pieces[run]
            if not asked[piece]:
                continue
            first, stop = int(starts[run]), int(stops[run])
            if first > 0:
                _vote(labels[a, b, first - 1], piece, wanted, counting, winners, votes, faces)
            if stop < labels.shape[2]:
                _vote(labels[a, b, stop], piece, wanted, counting, winners, votes, faces)
            for c in range(first, stop):
                if a > 0:
                    _vote(labels[a - 1, b, c], piece, wanted, counting, winners, votes, faces)
                if a + 1 < labels.shape[0]:
                    _vote(labels[a + 1, b, c], piece, wanted, counting, winners, votes, faces)
                if b > 0:
                    _vote(labels[a, b - 1, c], piece, wanted, counting, winners, votes, faces)
                if b + 1 < labels.shape[1]:
                    _vote(labels[a, b + 1, c], piece, wanted, counting, winners, votes, faces)


@compiled
def paint(labels: IntArray, rows: IntArray, starts: IntArray, stops: IntArray, pieces: IntArray, chosen: BoolArray,
          values: IntArray, replaced: IntArray) -> int:  # fmt: skip
    """Gives the chosen pieces their values wherever one of the `replaced` stands; gives how many voxels it changed."""
    changed = 0
    for row in range(len(rows) - 1):
        a, b = row // labels.shape[1], row % labels.shape[1]
        for run in range(rows[row], rows[row + 1]):
            if chosen[pieces[run]]:
                for c in range(starts[run], stops[run]):
                    if is_one_of(labels[a, b, c], replaced):
                        labels[a, b, c] = values[pieces[run]]
                        changed += 1
    return changed


@compiled
def find_extents(labels: IntArray, values: IntArray, lows: IntArray, highs: IntArray) -> None:
    """Moves `lows` and `highs` (values, 3) out to each value's first voxel and the one after its last."""
    for a in range(labels.shape[0]):
        for b in range(labels.shape[1]):
            start = 0
            for c in range(1, labels.shape[2] + 1):  # a stretch of one value at a time
                if c < labels.shape[2] and labels[a, b, c] == labels[a, b, start]:
                    continue
                for k in range(len(values)):
                    if values[k] == labels[a, b, start]:
                        lows[k, 0], highs[k, 0] = min(lows[k, 0], a), max(highs[k, 0], a + 1)
                        lows[k, 1], highs[k, 1] = min(lows[k, 1], b), max(highs[k, 1], b + 1)
                        lows[k, 2], highs[k, 2] = min(lows[k, 2], start), max(highs[k, 2], c)
                start = c
