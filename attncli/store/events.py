"""Event files, which TensorBoard reads: numbers, distributions, pictures and texts of each step."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.store.files import check_folder, make_folder, output_errors
from attncli.store.text import utf8

EVENTS = "events.out.tfevents"
"""How names of event files begin."""
_VERSION = "brain.Event:2"
_BUCKETS = 24


@dataclass(frozen=True)
class StepEvents:
    """What is shown at one step of a training.

    scalars     numbers by tag, such as `attention/decoder/layer-03/sink`; those that are not finite are left out
    histograms  values by tag, of which a distribution is shown
    pictures    bytes of PNG files by tag
    texts       Markdown by tag
    time        when the step was, in seconds since 1970; None for now
    """

    step: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Array] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    time: float | None = None


class EventFile:
    """A new file in a folder, to which steps are added while a training runs; TensorBoard shows each one at once.

    The first step makes the folder and the file. Raise OutputError if the system refuses, and UsageError without
    TensorBoard.
    """

    def __init__(self, folder: str | Path) -> None:
        check_tensorboard()
        self.folder = Path(folder)
        name = f"{EVENTS}.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(3)}"
        self.path = self.folder / name

    def add(self, events: StepEvents) -> None:
        """Add a step to the end of the file, which is closed in between."""
        make_folder(self.folder)
        with output_errors(self.path), self.path.open("ab") as file:
            if not file.tell():
                _write_records(file, [_first_event(events)])
            _write_records(file, _events_of(events))


def event_bytes(steps: Iterable[StepEvents]) -> bytes:
    """Return a whole event file with these steps; raise UsageError without TensorBoard."""
    check_tensorboard()
    buffer, listed = BytesIO(), list(steps)
    _write_records(buffer, [_first_event(listed[0])] if listed else [])
    for events in listed:
        _write_records(buffer, _events_of(events))
    return buffer.getvalue()


def check_tensorboard() -> None:
    """Raise UsageError if TensorBoard is not installed."""
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise UsageError('event files need TensorBoard: pip install "attncli[tensorboard]"') from error


def check_events_folder(path: str | Path, option: str) -> None:
    """Raise OutputError unless files can be written into a folder, which may not exist yet.

    option  how messages name the option or argument that the folder comes from
    """
    path = Path(path)
    with output_errors(path):
        advice = "choose another folder"
        check_folder(path, f"a folder for {option}", advice, f"{advice} for {option}")


def _write_records(file: Any, events: Iterable[Any]) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())


def _first_event(events: StepEvents) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=_time(events), file_version=_VERSION)


def _time(events: StepEvents) -> float:
    return time.time() if events.time is None else events.time


def _events_of(events: StepEvents) -> Iterator[Any]:
    """Yield the records of a step: one for all that is small, one for each picture."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    small = [*_scalars(events), *_histograms(events), *_texts(events)]
    for values in ([small] if small else []) + [[picture] for picture in _pictures(events)]:
        yield Event(wall_time=_time(events), step=events.step, summary=Summary(value=values))


def _scalars(events: StepEvents) -> Iterator[Any]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    for tag, number in events.scalars.items():
        if np.isfinite(number):
            yield Summary.Value(tag=tag, simple_value=float(number))


def _histograms(events: StepEvents) -> Iterator[Any]:
    from tensorboard.compat.proto.histogram_pb2 import HistogramProto
    from tensorboard.compat.proto.summary_pb2 import Summary

    for tag, array in events.histograms.items():
        values = np.asarray(array, dtype=np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        counts, edges = np.histogram(values, bins=_BUCKETS)
        histogram = HistogramProto(
            min=values.min(),
            max=values.max(),
            num=values.size,
            sum=values.sum(),
            sum_squares=(values**2).sum(),
            # a bucket ends at its limit: the first one, which is empty, only says where the next one begins
            bucket_limit=edges.tolist(),
            bucket=[0.0, *counts.tolist()],
        )
        yield Summary.Value(tag=tag, histo=histogram)


def _pictures(events: StepEvents) -> Iterator[Any]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    for tag, png in events.pictures.items():
        width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))
        picture = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        yield Summary.Value(tag=tag, image=picture)


def _texts(events: StepEvents) -> Iterator[Any]:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    plugin = SummaryMetadata.PluginData(plugin_name="text")
    for tag, text in events.texts.items():
        tensor = TensorProto(dtype="DT_STRING", string_val=[utf8(text)])
        tensor.tensor_shape.dim.add(size=1)
        yield Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)
