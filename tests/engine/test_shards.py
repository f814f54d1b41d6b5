"""Corpora in shards: merged sums, files of finished shards, and workers that die."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attncli
from attncli import models
from attncli.corpus_options import CorpusOptions
from attncli.data import Statistics, Text
from attncli.data.part_states import PartState
from attncli.engine import corpus, local
from attncli.engine.collected import Collected
from attncli.engine.corpus import ShardMemory, execute_corpus, in_this_process, needs_texts, run_corpus
from attncli.engine.execution import Execution
from attncli.engine.progress import Advance
from attncli.engine.request import Request
from attncli.engine.shards import Engine, ShardTask
from attncli.engine.study import Study
from attncli.errors import ModelError, UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.shards import Shard
from attncli.models.loading import load
from attncli.store import OutputFolder
from attncli.store.shard_files import ShardContent, shard_from_bytes, shard_to_bytes
from attncli.stream.position_totals import PositionTotals
from attncli.stream.replay import replay
from attncli.studies.heads.study import HeadsStudy
from attncli.studies.importance.study import ImportanceStudy
from attncli.studies.patterns.options import PatternsOptions
from attncli.studies.patterns.study import PatternsStudy
from attncli.studies.stats.options import StatsOptions
from attncli.studies.stats.study import StatsStudy

WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "two", "dogs", "ran", "over", "three", "hills", ",")
STATS = StatsStudy(StatsOptions(metric=["entropy", "distance", "sink_position"], special_tokens=True))


@pytest.fixture(scope="module")
def lines() -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.choices(WORDS, k=(2, 5, 9)[number % 3])) for number in range(24)]


@pytest.fixture(scope="module")
def file(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "made.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    """The bundled encoder in float64."""
    loaded = load("demo:encoder", device="cpu")
    return attncli.Model(models.wrap_model(loaded.model.to(torch.float64), loaded.tokenizer))


def request_of(study: StatsStudy = STATS) -> Request:
    return replace(Request.of(study.run_options()), any_axes=True)


def task_of(path: Path, size: int = 512, study: StatsStudy = STATS, **options: Any) -> ShardTask:
    arguments = {"name": "demo:encoder", "device": "cpu"}
    return ShardTask(study, request_of(study), arguments, Corpus.of_files(path, **options), size)


def merged(task: ShardTask, model: attncli.Model) -> tuple[Collected, Statistics]:
    run, result = run_corpus(
        task, ShardMemory(), Execution(task.request, load=lambda: model), in_this_process(lambda: model)
    )
    assert isinstance(result, Statistics)
    return run, result


def largest_difference(one: Statistics, other: Statistics) -> float:
    """Return how far two results are apart; they have the same heads, counts, metrics and undefined values."""
    differences = [0.0]
    for table in ("heads", "std", "share"):
        first, second = getattr(one, table), getattr(other, table)
        assert set(first) == set(second)
        for name, scores in first.items():
            for coord, (_, values) in scores.coords.items():
                np.testing.assert_array_equal(values, second[name].coords[coord][1])
            np.testing.assert_array_equal(np.isnan(scores.values), np.isnan(second[name].values))
            differences.append(float(np.nan_to_num(abs(scores.values - second[name].values)).max()))
    return max(differences)


@pytest.fixture(scope="module")
def whole(model: attncli.Model, lines: list[str]) -> Statistics:
    """The statistics of all texts in one pass, without shards."""
    return STATS.run(Execution(request_of(), [Text(line) for line in lines], load=lambda: model))[1]


@pytest.mark.parametrize("size", [512, 7])
def test_merged_shards_give_the_numbers_of_one_pass(
    size: int, file: Path, lines: list[str], model: attncli.Model, whole: Statistics
) -> None:
    run, result = merged(task_of(file, size), model)
    assert largest_difference(whole, result) < 1e-12
    assert len(whole.heads["entropy"].values) == 16
    assert "punctuation_mass" in result.heads
    assert run.inputs == ()
    assert run.corpus is not None
    tokens = sum(map(len, model.loaded.tokenizer(lines)["input_ids"]))
    assert (run.corpus.texts, run.corpus.files, run.corpus.tokens) == (24, 1, tokens)
    assert run.mean_note == "mean over 24 texts"


def test_the_order_of_texts_changes_nothing(
    tmp_path: Path, lines: list[str], model: attncli.Model, whole: Statistics
) -> None:
    path = tmp_path / "other.txt"
    path.write_text("\n".join(reversed(lines)))
    assert largest_difference(whole, merged(task_of(path, 16), model)[1]) < 1e-12


@pytest.mark.parametrize("study", [PatternsStudy(), HeadsStudy(), ImportanceStudy()], ids=lambda study: study.name)
def test_other_studies_give_the_tables_of_one_pass(
    study: Study[Any], lines: list[str], tmp_path: Path, model: attncli.Model
) -> None:
    path = tmp_path / "few.txt"
    path.write_text("\n".join(lines[:5]))
    options = {"metrics": ["sink"], "keep_maps": False, "layer": "0,1"}
    request = replace(Request.of(options), metrics=("sink",) if study.name == "importance" else ())  # type: ignore[arg-type]
    execution = Execution(request, [Text(line) for line in lines[:5]], load=lambda: model)
    task = ShardTask(study, request, {}, Corpus.of_files(path), 2)
    results = [
        study.run(execution)[1],
        run_corpus(task, ShardMemory(), replace(execution, texts=()), in_this_process(lambda: model))[1],
    ]
    one, other = (result[0] if isinstance(result, tuple) else result for result in results)
    tables = [(one.table(), other.table())]
    tables += [] if study.name == "importance" else [(one.layers_table(), other.layers_table())]
    for table, from_shards in tables:
        assert [name for name in table if not name.startswith("rigidity")] == list(from_shards)
        for name in from_shards:
            column = table[name]
            if column.dtype.kind in "OU":
                assert column.tolist() == from_shards[name].tolist()
            elif "positional" not in name or study.name == "heads":  # patterns of texts leave out one of them
                np.testing.assert_allclose(column, from_shards[name], rtol=0, atol=1e-12)
    for name in ("classes", "rows", "texts", "dead"):
        assert getattr(one, name, None) == getattr(other, name, None)


def test_positions_of_a_corpus_are_learned_from_all_texts(model: attncli.Model, lines: list[str]) -> None:
    texts = lines[:3]
    run = model.run(texts, layer=1, head=2, keep_maps=True)
    sink = PositionTotals(run.inputs)
    for attention in run.maps:
        replay(attention, [sink])
    merged = PositionTotals(())
    merged.absorb(sink.state())
    maps = [attention.layers[0].weights[0] for attention in run.maps]
    shapes = {shape.queries: (number, list(rows)) for *_, shape, number, rows in merged.shapes()}
    assert {queries: number for queries, (number, _) in shapes.items()} == {
        len(values): sum(len(other) == len(values) for other in maps) for values in maps
    }
    for values in maps:
        weights = np.zeros(values.shape)
        for i, j in np.ndindex(*values.shape):
            cells = [one[a, b] for one in maps for a, b in np.ndindex(*one.shape) if b - a == j - i]
            weights[i, j] = np.mean(cells)
        weights /= weights.sum(1, keepdims=True)
        (rows,) = shapes[len(values)][1]
        np.testing.assert_allclose(rows.weights[0, 0].numpy(), weights, rtol=0, atol=1e-7)


@dataclass
class Interrupted:
    """An engine that stops after some shards; it keeps the numbers of those that it computed."""

    engine: Engine
    after: int = 99
    computed: list[int] = field(default_factory=list)

    def __call__(self, task: ShardTask, shards: Sequence[Shard], advance: Advance) -> Iterator[tuple[int, bytes]]:
        for number, data in self.engine(task, shards, advance):
            if len(self.computed) == self.after:
                raise KeyboardInterrupt
            self.computed.append(number)
            yield number, data


Resumed = Callable[..., tuple[list[int], list[str], Any]]


@pytest.fixture
def resumed(file: Path, model: attncli.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resumed:
    """Runs the study into the same folder; returns the computed shards, the notes, and the table of the result."""

    def run(after: int = 99, resume: bool = True) -> tuple[list[int], list[str], Any]:
        task, notes = task_of(file, 6), list[str]()
        engine = Interrupted(in_this_process(lambda: model), after)
        monkeypatch.setattr(corpus, "in_this_process", lambda load: engine)
        folder = OutputFolder(tmp_path / "out", "stats", "0123456789ab")
        execution = Execution(task.request, load=lambda: model)
        try:
            _, result = execute_corpus(task, execution, folder, CorpusOptions(resume=resume), notes.append)
        except KeyboardInterrupt:
            return engine.computed, notes, None
        return engine.computed, notes, {name: scores.values.tobytes() for name, scores in result.heads.items()}

    return run


def test_an_interrupted_run_continues_with_the_same_bytes(resumed: Resumed, tmp_path: Path) -> None:
    assert resumed(after=2) == ([0, 1], [], None)
    computed, notes, table = resumed()
    assert computed == [2, 3]
    assert notes == ["12 of 24 texts were read by an interrupted run and are not read again"]
    files = sorted((tmp_path / "out" / ".shards").iterdir())
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"\x01")
    files[2].write_bytes(files[2].read_bytes()[:300])
    files[3].rename(files[3].with_name("000003-0123456789ab.safetensors"))
    computed, notes, same = resumed()
    assert (computed, same) == ([1, 2, 3], table)
    assert "1 shards in" in notes[0]
    assert "shard 1 is computed again: this shard is damaged" in notes[1]
    assert notes[2].startswith("shard 2 is computed again")
    assert resumed(after=0, resume=False) == ([], [], None)
    assert list((tmp_path / "out" / ".shards").iterdir()) == []


def test_a_shard_keeps_every_bit() -> None:
    arrays = {"a": np.array([[0.1, np.nan, -0.0]]), "b": [np.zeros((0, 3)), np.arange(3)]}
    content = ShardContent({"texts": 2, "note": "…"}, {"heads": [0, 1], "values": arrays, "none": None})
    read = shard_from_bytes(shard_to_bytes(content))
    assert read.header == content.header
    assert read.state["values"]["a"].tobytes() == arrays["a"].tobytes()  # type: ignore[union-attr]
    assert [part.shape for part in read.state["values"]["b"]] == [(0, 3), (3,)]
    assert (read.state["heads"], read.state["none"]) == ([0, 1], None)


def test_a_text_that_the_model_cannot_read_stops_the_run_or_is_left_out(tmp_path: Path, model: attncli.Model) -> None:
    path = tmp_path / "long.txt"
    path.write_text("the cat sat\n" + "cat " * 300 + "\n\n" + "dog " * 300 + "\na mat\n")
    with pytest.raises(UsageError, match=r"long\.txt, line 2: text 1 has 602 tokens, the model reads at most"):
        merged(task_of(path), model)
    run, result = merged(task_of(path, on_error="skip"), model)
    assert result.heads["entropy"].coords["texts"][1][0] == 2
    assert run.corpus is not None
    assert (run.corpus.texts, run.corpus.skipped) == (2, 2)
    assert run.info.notes[-1].startswith("left out 2 texts: ")
    path.write_text("cat " * 300)
    with pytest.raises(UsageError, match="there is no text to read"):
        merged(task_of(path, on_error="skip"), model)


def test_example_maps_are_those_of_the_first_text_that_can_be_read(tmp_path: Path, model: attncli.Model) -> None:
    path = tmp_path / "long.txt"
    path.write_text("cat " * 300 + "\ndog " * 300 + "\nthe cat sat\na mat\n")
    task = task_of(path, 1, PatternsStudy(PatternsOptions(shuffles=0), layered=True), on_error="skip")
    execution = Execution(task.request, load=lambda: model, draws=True)
    _, (_, maps) = run_corpus(task, ShardMemory(), execution, in_this_process(lambda: model))
    assert {(attention.kind, len(attention.layers)) for attention in maps} == {("encoder", 4)}


@dataclass(frozen=True)
class Dying(StatsStudy):
    """A study whose worker dies: once if there is a marker to make, else always."""

    marker: Path | None = None

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        if execution.first == 8 and not (self.marker and self.marker.exists()):
            if self.marker is not None:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().shard(execution)


def with_two_workers(study: StatsStudy, file: Path) -> dict[int, bytes]:
    task, read = task_of(file, 8, study), [0.0]
    shards = dict(local.with_workers(2)(task, task.survey.shards, read.append))
    assert sum(read) == pytest.approx(24)
    return shards


def test_two_workers_give_the_same_bytes_though_one_is_killed(file: Path, tmp_path: Path) -> None:
    shards = with_two_workers(Dying(STATS.options, tmp_path / "marker"), file)
    assert (tmp_path / "marker").exists()
    runner = attncli.load("demo:encoder", device="cpu")
    task = task_of(file, 8)
    assert shards == dict(in_this_process(lambda: runner)(task, task.survey.shards, lambda texts: None))


def test_a_worker_that_dies_again_and_again_stops_the_run(file: Path) -> None:
    task = task_of(file, 8, Dying(STATS.options))
    with pytest.raises(ModelError, match=r"3 workers died .*SIGKILL.*made\.txt, line 9 to .*made\.txt, line 16;"):
        list(local.with_workers(1)(task, task.survey.shards[1:2], lambda texts: None))


def test_workers_need_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "gpu_count", lambda: 1)
    local.check_workers(2, 1, "cpu")
    local.check_workers(1, 1, "auto")
    with pytest.raises(UsageError, match="there is 1 GPU: give --workers 1, or --device cpu"):
        local.check_workers(2, 1, "auto")
    with pytest.raises(UsageError, match="expected --threads from 1 up, got 0"):
        local.check_workers(1, 0, "cpu")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"per_query": True}, "--per-query"), ({"top_k": 3}, "--top-k"), ({"profile": True}, "--profile"), ({}, "")],
)
def test_some_options_need_single_texts(options: dict[str, Any], named: str) -> None:
    assert needs_texts(STATS, Request.of({"metrics": "all", **options}), save_maps=False) == named  # type: ignore[typeddict-item]
