"""Majority votes with named ties, shares, leaving one out, and what every consensus of the table keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import GeometryError, UsageError
from medseg.evaluation.consensus import CONSENSUS, leave_one_out, majority, soft_consensus

UNIT = (1.0, 1.0, 1.0)
VOXELS = [np.array([[[bool(int(vote))]] for vote in votes]) for votes in ("1100", "1010", "0110")]


def test_two_of_three_votes_win():
    marked, read = majority(VOXELS)
    assert marked.ravel().tolist() == [True, True, True, False] and read.all()


def test_who_did_not_read_a_voxel_has_no_vote():
    read = np.array([[[True]], [[False]], [[True]], [[False]]])
    marked, where = majority(VOXELS[:1], [read])
    assert marked.ravel().tolist() == [True, False, False, False]
    assert where.ravel().tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("tie", "marked", "decided"),
    [("background", [1, 0, 0, 0], [1, 1, 1, 1]), ("foreground", [1, 1, 1, 0], [1, 1, 1, 1]),
     ("ignore", [1, 0, 0, 0], [1, 0, 0, 1])],
)  # fmt: skip
def test_an_even_split_follows_the_named_rule(tie, marked, decided):
    vote, known = majority(VOXELS[:2], tie=tie)
    assert vote.ravel().tolist() == [bool(v) for v in marked]
    assert known.ravel().tolist() == [bool(v) for v in decided]


def test_more_than_half_is_needed_unless_said_otherwise():
    assert (majority(VOXELS[:2])[0] == majority(VOXELS[:2], tie="background")[0]).all()


def test_an_unknown_tie_rule_lists_the_known_ones():
    with pytest.raises(UsageError, match="tie one of background, foreground, ignore"):
        majority(VOXELS, tie="coin")


def test_nothing_to_vote_on_is_refused():
    with pytest.raises(UsageError, match="at least one mask"):
        majority([])


def test_masks_of_different_shapes_are_refused_with_both_shapes():
    with pytest.raises(GeometryError, match=r"expected \(4, 1, 1\), got \(3, 1, 1\)"):
        majority([VOXELS[0], VOXELS[0][:3]])


def test_the_soft_consensus_is_the_share_of_those_who_read():
    read = [None, None, np.array([[[True]], [[True]], [[True]], [[False]]])]
    share, known = soft_consensus(VOXELS, read)
    assert share.ravel() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0]) and known.all()
    nobody = np.zeros((4, 1, 1), dtype=bool)
    share, known = soft_consensus(VOXELS, [nobody] * 3)
    assert not share.any() and not known.any()


# --- every consensus of the table


@pytest.fixture(params=CONSENSUS)
def consensus(request):
    return CONSENSUS[request.param]


def random_masks(readers: int, seed: int = 0) -> list[np.ndarray]:
    """Balls that differ a little at their surface."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((9, 10, 11))
    return [(x - 4) ** 2 + (y - 5) ** 2 + (z - 5) ** 2 < rng.normal(9, 2, x.shape) for _ in range(readers)]


def test_every_consensus_is_a_share_with_an_opinion_where_somebody_read(consensus):
    masks = random_masks(3)
    value, known = consensus(masks, None, UNIT)
    assert value.shape == known.shape == masks[0].shape
    assert known.dtype == bool and known.all() and 0 <= value.min() <= value.max() <= 1


def test_every_consensus_follows_readers_who_all_agree(consensus):
    ball = random_masks(1)[0]
    value, _ = consensus([ball, ball, ball], None, UNIT)
    assert value.astype(float) == pytest.approx(ball.astype(float), abs=1e-6)


def test_no_consensus_depends_on_the_order_of_the_readers(consensus):
    masks = random_masks(4)
    for a, b in zip(consensus(masks, None, UNIT), consensus(masks[::-1], None, UNIT), strict=True):
        assert a.astype(float) == pytest.approx(b.astype(float), abs=1e-6)


def test_no_consensus_has_an_opinion_where_nobody_read(consensus):
    masks = random_masks(2)
    read = np.arange(11) < 6
    value, known = consensus(masks, [read, read], UNIT)
    assert (known == read)[..., 6:].all() and not value[..., 6:].any()


def test_what_an_absent_reader_would_have_drawn_changes_no_consensus(consensus):
    masks, read = random_masks(3), [None, None, np.arange(11) < 6]
    blank = [*masks[:2], masks[2] & read[2]]
    for a, b in zip(consensus(masks, read, UNIT), consensus(blank, read, UNIT), strict=True):
        assert (a == b).all()


def test_an_empty_structure_has_an_empty_consensus(consensus):
    empty = np.zeros((3, 3, 3), dtype=bool)
    assert not consensus([empty, empty], None, UNIT)[0].any()


# --- leaving one out


@pytest.mark.parametrize("rule", CONSENSUS)
def test_the_reader_left_out_has_no_say(rule):
    masks = dict(zip("ABC", random_masks(3), strict=True))
    before = leave_one_out(masks, rule, spacing_mm=UNIT)["B"]
    after = leave_one_out({**masks, "B": ~masks["B"]}, rule, spacing_mm=UNIT)["B"]
    assert (before[0] == after[0]).all() and (before[1] == after[1]).all()


def test_worked_example_soft_consensus_of_the_others(golden, masks):
    raters = {str(k): masks[f"worked/rater{k}"] for k in (1, 2, 3)}
    for left, (share, _) in leave_one_out(raters, "soft", spacing_mm=(3.0, 1.0, 1.0)).items():
        expected = golden["worked_example"]["expected"]["leave_one_out"][left]
        for who, mask in (("rater", raters[left]), ("model", masks["worked/model"])):
            found = 2 * np.minimum(share, mask).sum() / (share.sum() + mask.sum())
            assert found == pytest.approx(expected[f"{who}_soft_dice"])


def test_leaving_one_of_two_out_leaves_the_other():
    a, b = random_masks(2)
    found = leave_one_out({"A": a, "B": b}, spacing_mm=UNIT)
    assert (found["A"][0] == b).all() and (found["B"][0] == a).all()


def test_a_single_reader_has_no_others_and_an_unknown_rule_lists_the_known_ones():
    assert leave_one_out({"A": VOXELS[0]}, spacing_mm=UNIT) == {}
    with pytest.raises(UsageError, match="one of majority, majority_foreground"):
        leave_one_out({"A": VOXELS[0]}, "coin", spacing_mm=UNIT)
