"""What `medseg export` writes: a data set for other tools, or a run's network."""

DATASET_FORMATS = ("nnunet",)
MODEL_FORMATS = ("onnx", "torch-export", "monai-bundle")
