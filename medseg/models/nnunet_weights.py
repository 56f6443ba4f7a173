"""nnU-Net's names of weights, translated to those of our U-Nets, so that its trained networks can be taken over."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# `(pattern, replacement)`: nnU-Net calls a layer of a block `conv` and its norm `norm`; ours are numbers 0 and 1.
RULES = (
    (r"encoder\.stem\.convs\.0\.(conv|norm)\.", r"stem.\1."),
    (r"encoder\.stages\.(\d+)\.(?:0\.)?convs\.(\d+)\.(conv|norm)\.", r"encoder.\1.\2.\3."),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.(conv|norm)\.", r"encoder.\1.\2.first.\3."),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2\.(conv|norm)\.", r"encoder.\1.\2.second.\3."),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.(\d+)\.(conv|norm)\.", r"encoder.\1.\2.identity.\3.\4."),
    (r"decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.", r"decoder.merge.{\1}.\2.\3."),
    (r"decoder\.transpconvs\.(\d+)\.", r"decoder.up.{\1}."),
    (r"decoder\.seg_layers\.(\d+)\.", r"decoder.heads.{\1}."),
)
LAYERS = {"conv": "0", "norm": "1"}


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a PlainConvUNet or ResidualEncoderUNet under our names.

    nnU-Net stores every block twice or thrice (once more as `all_modules`, and the encoder once more inside the
    decoder) and counts the levels of its decoder from the deepest one; ours is counted from the finest.

    Args:
        state: its `network_weights`, with or without the `module.` and `_orig_mod.` that wrappers put in front.
    """
    plain = {re.sub(r"^(?:module\.|_orig_mod\.)+", "", name): tensor for name, tensor in state.items()}
    levels = sum(bool(re.fullmatch(r"decoder\.transpconvs\.\d+\.weight", name)) for name in plain)
    translated = {}
    for name, tensor in plain.items():
        if new := _renamed(name, levels):
            translated[new] = tensor
    return translated


def _renamed(name: str, levels: int) -> str | None:
    if ".all_modules." in name or name.startswith("decoder.encoder."):
        return None
    for pattern, replacement in RULES:
        if match := re.match(pattern, name):
            new = match.expand(replacement) + name[match.end() :]
            new = re.sub(r"\{(\d+)\}", lambda number: str(levels - 1 - int(number[1])), new)
            return re.sub(r"\.(conv|norm)\.", lambda layer: f".{LAYERS[layer[1]]}.", new)
    return None
