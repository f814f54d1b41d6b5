"""Event files are what TensorBoard reads: numbers, distributions, pictures and texts of each step."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attncli.errors import OutputError, UsageError
from attncli.store.events import EVENTS, EventFile, StepEvents, check_events_folder, event_bytes

PNG = Path("docs/heatmap.png")
VALUES = np.array([0.1, 0.21, 0.21, np.nan, 0.9])


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), {"histograms": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def step(number: int, png: bytes = b"") -> StepEvents:
    pictures = {"map": png} if png else {}
    scalars = {"a/sink": number / 10, "a/undefined": float("nan")}
    return StepEvents(number, scalars, {"a/all": VALUES}, pictures, {"a/classes": f"| ü | {number} |"}, 1e9 + number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Path:
    folder = tmp_path_factory.mktemp("events") / "new" / "run"
    file = EventFile(folder)
    assert not folder.exists()
    for number in (0, 10):
        file.add(step(number, (repo / PNG).read_bytes()))
    return folder


def test_tensorboard_reads_back_the_numbers_of_each_step(folder: Path) -> None:
    events = read(folder)
    assert events.Tags()["scalars"] == ["a/sink"]  # what is not finite has no point
    points = [(point.step, point.wall_time, point.value) for point in events.Scalars("a/sink")]
    assert points == [(0, 1e9, 0.0), (10, 1e9 + 10, 1.0)]


def test_tensorboard_reads_back_a_distribution(folder: Path) -> None:
    found = [event.histogram_value for event in read(folder).Histograms("a/all")]
    assert len(found) == 2
    finite = VALUES[np.isfinite(VALUES)]
    histogram = found[0]
    assert (histogram.min, histogram.max, histogram.num) == (0.1, 0.9, 4)
    np.testing.assert_allclose([histogram.sum, histogram.sum_squares], [finite.sum(), (finite**2).sum()])
    limits, counts = np.array(histogram.bucket_limit), np.array(histogram.bucket)
    expected = [((finite > low) & (finite <= high)).sum() for low, high in pairwise(limits)]
    expected[0] += 1  # the smallest value is the left edge of the first bucket
    assert [counts[0], *counts[1:]] == [0, *expected]


def test_tensorboard_reads_back_pictures_and_texts(folder: Path, repo: Path) -> None:
    events, png = read(folder), (repo / PNG).read_bytes()
    picture = events.Images("map")[1]
    assert (picture.step, picture.encoded_image_string) == (10, png)
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))
    assert (picture.width, picture.height) == (width, height)
    texts = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("a/classes")]
    assert texts == ["| ü | 0 |", "| ü | 10 |"]


def test_a_step_can_be_read_at_once_and_each_file_is_one_of_its_own(tmp_path: Path) -> None:
    for number in (1, 2):
        EventFile(tmp_path).add(step(number))
        assert len(read(tmp_path).Scalars("a/sink")) == number
    assert len(list(tmp_path.glob(f"{EVENTS}.*"))) == 2


def test_a_whole_file_has_the_same_bytes_each_time_and_the_same_content(tmp_path: Path) -> None:
    data = event_bytes([step(0), step(10)])
    assert data == event_bytes([step(0), step(10)])
    tmp_path.joinpath(f"{EVENTS}.x").write_bytes(data)
    assert [point.step for point in read(tmp_path).Scalars("a/sink")] == [0, 10]
    assert event_bytes([]) == b""


def test_a_folder_that_is_a_file_is_refused_before_and_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(
        OutputError, match=r"expected a folder for --tensorboard, but .*/file is a file: choose another"
    ):
        check_events_folder(path / "run", "--tensorboard")
    with pytest.raises(OutputError, match="cannot write"):
        EventFile(path / "run").add(step(0))


def test_without_tensorboard_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    for make in (lambda: event_bytes([step(0)]), lambda: EventFile("x")):
        with pytest.raises(UsageError, match=r'event files need TensorBoard: pip install "attncli\[tensorboard\]"'):
            make()
