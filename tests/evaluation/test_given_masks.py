"""Arrays from anybody's script: what is no mask is refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import GeometryError, UsageError
from medseg.evaluation.scoring import score_masks, score_pair

SPACING = (1.0, 1.0, 3.0)
CUBE = np.pad(np.ones((3, 3, 3), dtype=bool), 1)


@pytest.mark.parametrize(
    ("other", "spacing_mm", "words"),
    [
        pytest.param(CUBE[1:], SPACING, "different shapes", id="shape"),
        pytest.param(CUBE[0], SPACING, "three axes", id="slice"),
        pytest.param(CUBE, (1.0, 3.0), "no spacing", id="two-lengths"),
        pytest.param(CUBE, (1.0, 0.0, 3.0), "no spacing", id="zero-length"),
    ],
)
def test_what_has_no_common_grid_is_refused(other, spacing_mm, words):
    with pytest.raises(GeometryError, match=words):
        score_pair(CUBE, other, spacing_mm)


@pytest.mark.parametrize("factor", [2, 0.7])
def test_a_label_map_or_probabilities_are_no_mask(factor):
    with pytest.raises(UsageError, match="no mask"):
        score_masks({"A": CUBE, "B": CUBE * factor}, SPACING)


def test_zeros_and_ones_of_any_type_are_a_mask():
    assert score_pair(CUBE.astype(np.uint8), CUBE.astype(np.float32), SPACING)["dice"] == 1.0


def test_a_record_is_flat_and_holds_every_metric():
    pair = score_masks({"A": CUBE, "B": np.zeros_like(CUBE)}, SPACING, label="liver")[0]
    record = pair.as_record()
    assert record["dice"] == 0.0 and record["hd95"] == np.inf and record["flag"] == "one_empty"
    assert (record["label"], record["a"], record["b"]) == ("liver", "A", "B") and record["volume_a_ml"] == 0.081
    assert not any(isinstance(value, dict) for value in record.values())
