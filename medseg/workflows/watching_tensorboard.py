"""TensorBoard: event files under `RUN/tensorboard`, written without TensorFlow and without the machine's name.

A run that is taken up again drops the points past the step that it goes on from and starts a new file, so that every
point is there once. A record is one write; one that a kill cut short is dropped.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.errors import WriteError
from medseg.files import atomic_path
from medseg.report.run_pictures import Seen, side_by_side
from medseg.training.events import StepEvent, ValidationEvent
from medseg.workflows.watching_slices import Slices

FOLDER = "tensorboard"
VERSION = "brain.Event:2"
HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")


class TensorBoard:
    """A watcher that writes curves, and slices of the cases that `slices` follows.

    Args:
        folder: where the event files lie.
        step: the step that training goes on from; 0 for a new run.
        slices: None for curves alone.
    """

    def __init__(self, folder: Path, step: int, slices: Slices | None = None) -> None:
        self._events, self._summaries, self.slices = _messages("event"), _messages("summary"), slices
        folder.mkdir(parents=True, exist_ok=True)
        files = event_files(folder)
        for path in files:
            drop_after(path, step)
        count = 1 + max((int(path.name.split(".")[3]) for path in files), default=0)
        self.path = folder / f"events.out.tfevents.{count:010d}.medseg"
        self._write(file_version=VERSION)
        if step:  # a TensorBoard that is open now forgets the same points
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(step=step + 1, session_log=start)

    def step(self, event: StepEvent) -> None:
        self._scalars(event.step, {
            "training/loss": event.loss,
            "training/learning_rate": event.learning_rate,
            "training/gradient_norm": event.gradient_norm,
            "speed/patches_per_second": event.patches_per_second,
            "speed/waiting_share": event.wait_share,
        })  # fmt: skip

    def validation(self, event: ValidationEvent) -> None:
        self._scalars(
            event.step, {"dice/mean": event.mean} | {f"dice/{name}": dice for name, dice in event.dice.items()}
        )
        followed = self.slices.followed if self.slices else {}
        self._summary(event.step, [self._picture(seen) for case, seen in followed.items() if case in event.cases])

    def close(self) -> None:
        """Nothing is held open."""

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._summary(
            step, [self._summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )

    def _picture(self, seen: Seen) -> Any:
        from tensorboard.plugins.image.metadata import create_summary_metadata

        picture = side_by_side(seen)
        width, height = struct.unpack(">II", picture[16:24])  # of the PNG's first chunk
        note = f"Axial slice {seen.place}. Left the reference, right the prediction."
        tensor = _messages("tensor").TensorProto(
            dtype=_messages("types").DT_STRING, string_val=[b"%d" % width, b"%d" % height, picture]
        )
        tensor.tensor_shape.dim.add(size=3)
        metadata = create_summary_metadata(display_name=seen.case, description=note)
        metadata.data_class = self._summaries.DATA_CLASS_BLOB_SEQUENCE
        return self._summaries.Summary.Value(tag=f"slices/{seen.case}", tensor=tensor, metadata=metadata)

    def _summary(self, step: int, values: list[Any]) -> None:
        self._write(step=step, summary=self._summaries.Summary(value=values))

    def _write(self, **content: Any) -> None:
        event = self._events.Event(wall_time=time.time(), **content)
        try:
            with open(self.path, "ab") as stream:
                stream.write(as_record(event.SerializeToString()))
        except OSError as error:
            raise WriteError(f"could not write: {error.strerror}", where=f"{FOLDER}/{self.path.name}",
                             do="Free some space; --resume goes on from the last checkpoint.") from error  # fmt: skip


def _messages(name: str) -> Any:
    """A module of TensorBoard's messages, loaded when it is needed; its classes are made at run time."""
    return import_module(f"tensorboard.compat.proto.{name}_pb2")


def event_files(folder: Path) -> list[Path]:
    """The event files of a folder that medseg wrote, oldest first."""
    return sorted(folder.glob("events.out.tfevents.[0-9]*.medseg"))


def as_record(data: bytes) -> bytes:
    """A message between its length and the check sums of both (TensorFlow's record format)."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + FOOTER.pack(masked_crc32c(length)) + data + FOOTER.pack(masked_crc32c(data))


def records(content: bytes) -> Iterator[bytes]:
    """The records of an event file; it ends at the first one that a kill cut short.

    Only the check sum of the length is verified: that of the message takes a second for 5 MB of pictures.
    """
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    place = 0
    while place + HEADER.size <= len(content):
        length, check = HEADER.unpack_from(content, place)
        end = place + HEADER.size + length + FOOTER.size
        if masked_crc32c(content[place : place + 8]) != check or end > len(content):
            return
        yield content[place:end]
        place = end


def drop_after(path: Path, step: int) -> None:
    """Rewrites an event file without the events past `step`, and without what follows a damaged record.

    TensorBoard reads no further than to the damage either; `log.jsonl` holds every point in any case.
    """
    from google.protobuf.message import DecodeError

    read = _messages("event").Event.FromString
    content, kept = path.read_bytes(), bytearray()
    with suppress(DecodeError):
        for record in records(content):
            if read(record[HEADER.size : -FOOTER.size]).step <= step:
                kept += record
    if kept != content:
        with atomic_path(path) as temporary:
            temporary.write_bytes(kept)
