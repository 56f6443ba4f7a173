"""Majority votes, with missing readers and named ties."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.consensus import majority

VOXELS = [np.array([[[bool(int(vote))]] for vote in votes]) for votes in ("1100", "1010", "0110")]


def test_two_of_three_votes_win():
    marked, read = majority(VOXELS)
    assert marked.ravel().tolist() == [True, True, True, False] and read.all()


def test_who_did_not_read_a_voxel_has_no_vote():
    read = np.array([[[True]], [[False]], [[True]], [[False]]])
    marked, where = majority(VOXELS[:1], [read])
    assert marked.ravel().tolist() == [True, False, False, False]
    assert where.ravel().tolist() == [True, False, True, False]


@pytest.mark.parametrize(("masks", "tie"), [([], "marked"), (VOXELS, "coin")])
def test_nothing_to_vote_on_is_refused(masks, tie):
    with pytest.raises(UsageError, match="tie one of marked, background"):
        majority(masks, tie=tie)
