"""medseg: CT segmentation that carries every expert's label from the file to the loss to the report.

The command line's verbs are functions of the same names in `medseg.workflows`:

>>> from medseg import workflows
>>> sorted(workflows.VERBS)
['agree', 'augment_preview', 'check', 'convert', 'demo', 'evaluate', 'export', 'figure', 'import_',
     'invariance', 'phantom', 'plan', 'predict', 'preprocess', 'register', 'runs', 'train']
"""

__version__ = "0.1.0"
