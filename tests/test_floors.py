import subprocess
import sys
from pathlib import Path

import pytest

from tools.floors import FLOORS, faults, read_sources

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "monai", "scipy", "matplotlib", "SimpleITK", "nibabel", "pydicom", "skimage")

OFFENDERS = {
    "torch in io": ({"medseg/io/nifti.py": "import numpy\nimport torch.nn\n"}, "medseg/io/nifti.py:2: io must not"),
    "torch inside a function": (
        {"medseg/report/page.py": "def draw():\n    from torch import nn\n    return nn\n"},
        "medseg/report/page.py:2: report must not import torch",
    ),
    "torch by its name as text": (
        {"medseg/evaluation/x.py": "from importlib import import_module\nimport_module('torch')\n"},
        "medseg/evaluation/x.py:2: evaluation must not import torch",
    ),
    "imaging in models": (
        {"medseg/models/unet.py": "from medseg.imaging.volume import Volume\n"},
        "medseg/models/unet.py:1: models must not import imaging",
    ),
    "io in training": (
        {"medseg/training/loop.py": "from medseg import io\n"},
        "medseg/training/loop.py:1: training must not import io",
    ),
    "a sibling": (
        {"medseg/phantom/body.py": "import medseg.io.nifti\n"},
        "medseg/phantom/body.py:1: phantom must not import io",
    ),
    "a higher floor": (
        {"medseg/imaging/case.py": "from medseg.workflows import train\n"},
        "medseg/imaging/case.py:1: imaging must not import workflows",
    ),
    "a higher floor, relative": (
        {"medseg/imaging/case.py": "from ..io import nifti\n", "medseg/io/nifti.py": ""},
        "medseg/imaging/case.py:1: imaging must not import io",
    ),
    "report reaching for io": (
        {"medseg/report/page.py": "from medseg.io.manifest import Dataset\n"},
        "medseg/report/page.py:1: report must not import io",
    ),
    "the command line past the workflows": (
        {"medseg/cli/judge.py": "from medseg.training import loop\n"},
        "medseg/cli/judge.py:1: cli must not import training",
    ),
    "a room without a floor": ({"medseg/attic/x.py": ""}, "medseg/attic/x.py:1: 'attic' has no floor"),
    "monai elsewhere": (
        {"medseg/data/store.py": "import monai\n"},
        "medseg/data/store.py:1: monai is imported only in",
    ),
    "pydicom elsewhere": ({"medseg/io/manifest.py": "import pydicom\n"}, "medseg/io/manifest.py:1: pydicom is"),
    "nibabel elsewhere": ({"medseg/io/dicom.py": "import nibabel as n\n"}, "medseg/io/dicom.py:1: nibabel is"),
    "a name that says nothing": ({"medseg/io/utils.py": ""}, "medseg/io/utils.py:1: 'utils' says nothing"),
    "a class that says nothing": ({"medseg/io/x.py": "\nclass CaseManager: ...\n"}, "medseg/io/x.py:2: class CaseM"),
    "a long file": ({"medseg/io/x.py": "x = 1\n" * 401}, "medseg/io/x.py:401: 401 lines, at most 400"),
    "a long function": (
        {"medseg/io/x.py": "\ndef long():\n    '''Says so.'''\n" + "    x = 1\n" * 61},
        "medseg/io/x.py:2: the body of long has 61 lines, at most 60",
    ),
    "pickle": ({"medseg/data/x.py": "from pickle import loads\n"}, "medseg/data/x.py:1: pickle loads pickles"),
    "torch.load": (
        {"medseg/training/x.py": "import torch\ntorch.load('a', map_location='cpu')\n"},
        "medseg/training/x.py:2: torch.load without weights_only=True",
    ),
    "torch.load by another name": (
        {"medseg/training/x.py": "from torch import load\n"},
        "medseg/training/x.py:1: call torch.load by its full name",
    ),
    "numpy's pickles": (
        {"medseg/data/x.py": "import numpy as np\nnp.load('a', allow_pickle=True)\n"},
        "medseg/data/x.py:2: allow_pickle loads pickles",
    ),
    "a bare except": (
        {"medseg/io/x.py": "try:\n    x = 1\nexcept:\n    x = 2\n"},
        "medseg/io/x.py:3: a bare except hides every fault",
    ),
    "the network": (
        {"medseg/workflows/x.py": "def get():\n    import urllib.request\n"},
        "medseg/workflows/x.py:2: urllib.request opens network connections",
    ),
    "a circle of two": (
        {"medseg/io/a.py": "\nfrom medseg.io import b\n", "medseg/io/b.py": "from medseg.io.a import x\n"},
        "medseg/io/b.py:1: closes an import circle: medseg.io.a -> medseg.io.b -> medseg.io.a",
    ),
    "a circle of three": (
        {
            "medseg/io/a.py": "import medseg.io.b\n",
            "medseg/io/b.py": "def late():\n    from . import c\n",
            "medseg/io/c.py": "import medseg.io.a\n",
        },
        "medseg/io/c.py:1: closes an import circle: medseg.io.a -> medseg.io.b -> medseg.io.c -> medseg.io.a",
    ),
}

ALLOWED = {
    "medseg/errors.py": "",
    "medseg/config.py": "from medseg.errors import ConfigError\nfrom medseg.files import write_text\n",
    "medseg/files.py": "import os\nfrom medseg.errors import WriteError\n",
    "medseg/imaging/volume.py": "import numpy as np\nfrom medseg.errors import VoxelError\n",
    "medseg/io/nifti.py": "import nibabel\nfrom medseg.imaging.volume import Volume\n",
    "medseg/io/dicom_seg.py": "import pydicom, highdicom\nfrom medseg.io.nifti import x\n",
    "medseg/training/loop.py": "import torch\ntorch.load('a', weights_only=True)\n",
    "medseg/models/unet.py": "import torch\nfrom monai.networks import nets\nfrom medseg.config import Config\n",
    "medseg/inference/window.py": "from monai.inferers import x\nfrom medseg.preprocessing import y\n",
    "medseg/workflows/train.py": "from medseg.training.loop import fit\nfrom medseg.report import page\n",
    "medseg/cli/judge.py": "from medseg import workflows\nfrom medseg.errors import MedsegError\n",
    "medseg/__main__.py": "from medseg.cli import main\n",
}


def test_every_file_of_medseg_keeps_the_house_rules():
    broken = faults(read_sources(ROOT))
    assert not broken, "\n" + "\n".join(broken)


def test_every_room_is_drawn_in_contributing():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in FLOORS if not name.startswith("__") and f"`{name}`" not in page] == []


@pytest.mark.parametrize(("sources", "told"), OFFENDERS.values(), ids=OFFENDERS)
def test_an_offence_is_found_and_its_line_named(sources, told):
    found = faults(sources)
    assert len(found) == 1, found
    assert found[0].startswith(told)


def test_what_the_rules_allow_is_not_called_an_offence():
    assert faults(ALLOWED) == []


def test_importing_the_command_line_loads_nothing_heavy():
    script = f"import sys, medseg.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
