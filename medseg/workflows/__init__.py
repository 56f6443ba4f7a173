"""The command line's verbs as functions: `from medseg.workflows import train, predict, agree`.

Each is imported on first use, so that judging masks does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

VERBS = {
    "phantom": "medseg.workflows.phantoms",
    "check": "medseg.workflows.checking",
    "augment_preview": "medseg.workflows.previewing",
    "plan": "medseg.workflows.planning",
    "preprocess": "medseg.workflows.preprocessing",
    "train": "medseg.workflows.training",
    "runs": "medseg.workflows.run_listing",
    "validate": "medseg.workflows.validation",
    "predict": "medseg.workflows.prediction",
    "masks": "medseg.workflows.mask_files",
    "invariance": "medseg.workflows.dose_response",
    "evaluate": "medseg.workflows.evaluation",
    "agree": "medseg.workflows.agreement",
    "register": "medseg.workflows.registration",
    "figure": "medseg.workflows.figure_files",
    "convert": "medseg.workflows.conversion",
    "import_": "medseg.workflows.importing",  # `import` is a word of the language
    "export": "medseg.workflows.exporting",
    "demo": "medseg.workflows.demonstration",
}
BESIDES = {  # what the verbs take and what their results are shown with
    "AgreementOptions": "medseg.workflows.agreement_options",
    "train_folds": "medseg.workflows.training_folds",
    "report_runs": "medseg.workflows.run_report",
    "ReadingOptions": "medseg.workflows.readings_options",
    "ImportOptions": "medseg.workflows.importing",
    "suggest_rois": "medseg.workflows.importing",
    "scan": "medseg.workflows.conversion",
    "list_series": "medseg.workflows.conversion",
    "list_studies": "medseg.workflows.prediction_studies",
    "summary_table": "medseg.workflows.fleet_outcomes",
    "export_model": "medseg.workflows.model_export",
    "export_inputs": "medseg.workflows.invariance_export",
    "headline": "medseg.report.invariance_wording",
    "versus_sentence": "medseg.report.invariance_wording",
    "threshold_table": "medseg.workflows.invariance_files",
    "invariance_figure": "medseg.workflows.invariance_files",
    "render": "medseg.workflows.checking",
    "score_table": "medseg.workflows.evaluation",
    "Predictor": "medseg.workflows.run",
}


def __getattr__(name: str) -> Any:
    known = VERBS | BESIDES
    if name not in known:
        raise AttributeError(f"module 'medseg.workflows' has no attribute '{name}'")
    return getattr(import_module(known[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *VERBS, *BESIDES])
