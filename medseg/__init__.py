"""medseg: CT segmentation that carries every expert's label from the file to the loss to the report.

    from medseg import Predictor

    predictor = Predictor.from_run("run")
    prediction = predictor(volume)

The command line's verbs are functions of the same names in `medseg.workflows`:

>>> from medseg import workflows
>>> sorted(workflows.VERBS)
['agree', 'augment_preview', 'check', 'convert', 'demo', 'evaluate', 'export', 'figure', 'import_',
     'invariance', 'masks', 'phantom', 'plan', 'predict', 'preprocess', 'register', 'runs', 'train', 'validate']
"""

from importlib import import_module

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`Predictor`, which brings PyTorch and is imported when it is asked for."""
    if name != "Predictor":
        raise AttributeError(f"module 'medseg' has no attribute '{name}'")
    return import_module("medseg.workflows").Predictor


def __dir__() -> list[str]:
    return sorted([*globals(), "Predictor"])
