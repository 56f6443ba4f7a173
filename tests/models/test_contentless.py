"""Networks without content: the same tensors as with it, and none of what is slow to import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from medseg.models.contentless import contentless
from medseg.models.registry import ModelConfig

NAMES = [
    name for model in get_args(get_args(ModelConfig)[0]) for name in get_args(model.model_fields["name"].annotation)
]
UNET: dict[str, Any] = {"channels": [4, 8, 8], "deep_supervision": 1}
SMALL: dict[str, dict[str, Any]] = {
    "unet": UNET,
    "resenc-m": UNET | {"blocks": [1, 1, 1]},
    "resenc-l": UNET | {"blocks": [1, 1, 1]},
    "unetr": {"hidden": 12, "mlp": 12, "heads": 2, "features": 4},
    "swin-unetr": {"features": 12},
    "mednext": {"size": "S", "filters": 4},
    "segresnet": {"filters": 8},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_content_has_the_tensors_of_one_with_it(name: str) -> None:
    config: Any = TypeAdapter(ModelConfig).validate_python({"name": name, **SMALL[name]})

    with contentless():
        empty = config.build(1, 3, (64, 64, 64))

    shapes = [{key: tensor.shape for key, tensor in network.state_dict().items()}
              for network in (empty, config.build(1, 3, (64, 64, 64)))]  # fmt: skip
    assert shapes[0] == shapes[1]


def test_no_symbolic_shapes_are_imported() -> None:
    program = (
        "import sys; from medseg.models.contentless import contentless; from medseg.models.unet import UNetConfig\n"
        "with contentless(): UNetConfig().build(1, 3, (64, 64, 64))\n"
        "assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
