"""Bland-Altman limits."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.volumes import bland_altman


def test_bland_altman_equals_the_reference(golden):
    expected = golden["statistics"]["bland_altman"]
    found = bland_altman(np.array(expected["a"]), np.array(expected["b"]))
    assert found is not None
    assert (found.bias, found.sd, *found.limits) == pytest.approx(
        (expected["bias"], expected["sd"], *expected["loa"]), abs=1e-6
    )


def test_one_pair_has_no_limits():
    assert bland_altman(np.array([1.0, np.nan]), np.array([2.0, 3.0])) is None
