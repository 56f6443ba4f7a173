"""Seeds and data that every test may ask for."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no fault of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("seeded", settings.get_profile("patient"), derandomize=True)  # the same on every machine
settings.register_profile("fresh", settings.get_profile("patient"))  # new ones each time: `make test-slow`
settings.load_profile("seeded")

collect_ignore = ["support"]  # writers and scripts that tests use, no tests
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state; PyTorch is touched only where a test module imported it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - third parties draw from the global state
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of larger public data beside the checkout; tests that need it skip where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("larger real data are not here: expected the folder ../shared/data beside the checkout")
    return SHARED_DATA
