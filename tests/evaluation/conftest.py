"""The golden masks and the numbers that independent tools gave for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "golden.json").read_text())


@pytest.fixture(scope="session")
def masks() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "masks.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}
