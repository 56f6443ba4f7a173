"""The recipe's key `tracking`: where a training can be watched besides its own log."""

from __future__ import annotations

from medseg.config import Config


class TrackingConfig(Config):
    """Who is told how a training goes; `RUN/log.jsonl` and `RUN/report.html` are written in any case.

    Args:
        tensorboard: write `RUN/tensorboard`.
        images: pictures of validation cases hold the patients' grey values; false leaves the outlines alone.
        mlflow: a folder, or the address of an MLflow store or server, that is told too; nothing is sent anywhere else.
    """

    tensorboard: bool = True
    images: bool = True
    mlflow: str | None = None
