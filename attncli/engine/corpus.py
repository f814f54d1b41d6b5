"""Run a study on a corpus: shards are computed by an engine, kept in files, and merged in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from attncli.corpus_options import CorpusOptions
from attncli.data import Text
from attncli.data.corpus_counts import CorpusCounts
from attncli.data.described import counted
from attncli.data.part_states import PartState
from attncli.engine.checkpoints import model_files
from attncli.engine.collected import Collected
from attncli.engine.execution import Execution
from attncli.engine.local import check_workers, with_workers
from attncli.engine.progress import Advance
from attncli.engine.ray_engine import check_ray, with_ray
from attncli.engine.request import Request
from attncli.engine.shards import Engine, ShardTask, compute_shard, run_info_of
from attncli.engine.worker import PACKAGES, set_threads
from attncli.engine.worker_count import default_workers
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.shards import Shard
from attncli.options import key
from attncli.store.shard_files import ShardContent, ShardFiles, shard_from_bytes, shard_to_bytes
from attncli.store.text import json_line
from attncli.vocabulary import CORPUS_TEXTS

if TYPE_CHECKING:  # workers load the model, not this process
    from attncli.engine.runner import Runner
    from attncli.engine.study import Study
    from attncli.store import OutputFolder

_EXAMPLES = 3


class ShardMemory:
    """The shards of a run that writes no files."""

    def __init__(self) -> None:
        self._shards: dict[int, bytes] = {}

    def write(self, number: int, data: bytes) -> None:
        """Keep the bytes of a shard."""
        self._shards[number] = data

    def read(self, number: int) -> ShardContent | None:
        """Return a shard; None if it is missing."""
        data = self._shards.get(number)
        return None if data is None else shard_from_bytes(data)


def in_this_process(load: Callable[[], Runner]) -> Engine:
    """Return the engine that computes one shard after the other in this process."""

    def compute(task: ShardTask, shards: Sequence[Shard], advance: Advance) -> Iterator[tuple[int, bytes]]:
        for shard in shards:
            yield shard.index, shard_to_bytes(compute_shard(task, shard, load, advance))

    return compute


def check_in_parts(study: Study[Any], corpus: Corpus, request: Request, save_maps: bool) -> None:
    """Raise UsageError if an option needs all texts at once."""
    if option := needs_texts(study, request, save_maps):
        raise UsageError(
            f"{option} needs all texts at once, and a corpus of {corpus.survey().texts:,} texts is read in parts: "
            f"leave it out, or give at most {counted(study.corpus_from, 'text')}"
        )


def needs_texts(study: Study[Any], request: Request, save_maps: bool) -> str:
    """Return an option that needs all texts at once, "" if none is given: of a corpus only sums are kept."""
    wanted = {
        "--per-query": request.per_query,
        "--top-k": request.top_k is not None,
        "--min-weight": request.min_weight is not None,
        "--profile": request.profile,
        "--word-ids": request.word_ids is not None,
        "--aggregate-layers mean": request.measures_maps,
        "--save-maps": save_maps,
    }
    return next((option for option, given in wanted.items() if given), study.needs_texts())


def corpus_task(
    study: Study[Any], request: Request, corpus: Corpus, pair: str | None = None, target: str | None = None
) -> ShardTask | None:
    """Return how a study reads a corpus in shards; None if it reads all texts at once.

    Raise UsageError if options need single texts and these are too many, or if a pair or a target is given.
    """
    for name, value in (("pair", pair), ("target", target)):
        if value is not None:
            raise UsageError(f"--{name} goes with one text, not with a corpus: leave it out")
    if not study.sharded:
        return None
    if needs_texts(study, request, save_maps=False):
        if corpus.survey().texts <= CORPUS_TEXTS:
            return None
        check_in_parts(study, corpus, request, save_maps=False)
    return ShardTask(study, request, {}, corpus)


def execute_corpus(
    task: ShardTask,
    execution: Execution,
    folder: OutputFolder,
    options: CorpusOptions,
    tell: Callable[[str], None],
) -> tuple[Collected, Any]:
    """Run the study of a command on its corpus; continue what an earlier, interrupted command has left.

    tell  receives notes that are shown before the heavy work
    """
    _check_engine(options, str(task.arguments["device"]))
    models = (task.arguments["name"], *task.study.other_models())
    parts = [folder.command, folder.digest, *map(version, PACKAGES), *map(model_files, models)]
    keys = [_key([*parts, shard.digest]) for shard in task.survey.shards]
    files = ShardFiles(folder, keys)
    files.open()
    if not options.resume:
        files.remove()
    missing = _missing(task, files, tell)
    if options.engine == "ray":
        return run_corpus(task, files, execution, with_ray(options), missing)
    workers, note = options.workers, ""
    if workers is None:
        workers, note = default_workers(task.arguments, len(missing), options.threads, task.study.other_models())
    if note:
        tell(note)
    if workers > 1:
        return run_corpus(task, files, execution, with_workers(workers, options.threads), missing)
    threads = set_threads(options.threads)
    try:
        return run_corpus(task, files, execution, in_this_process(lambda: execution.runner), missing)
    finally:
        set_threads(threads)


def _check_engine(options: CorpusOptions, device: str) -> None:
    """Raise UsageError if the engine cannot run with these options."""
    if options.engine == "ray":
        check_workers(options.workers, options.threads, "cpu")
        check_ray(options, device)
        return
    check_workers(options.workers, options.threads, device)
    for name in ("address", "gpus_per_worker"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{key(name)} goes with --engine ray: give both, or leave it out")


def run_corpus(
    task: ShardTask,
    contents: ShardFiles | ShardMemory,
    execution: Execution,
    engine: Engine,
    missing: Sequence[Shard] | None = None,
) -> tuple[Collected, Any]:
    """Compute the missing shards of a corpus and merge all of them; return the run, without texts, and the result.

    execution  has the model, for what a study computes after it has seen all texts; gets texts of the first shard
    missing    shards that are not in `contents`; None for all
    """
    missing = task.survey.shards if missing is None else missing
    with execution.track("reading", sum(shard.texts for shard in missing), "texts") as advance:
        for number, data in engine(task, missing, advance):
            contents.write(number, data)
    headers = [content.header for content in _in_order(task, contents)]
    info, counts = run_info_of(headers), _counts(task, headers)
    info = replace(info, input_sha256=task.survey.digest, notes=(*info.notes, *counts.notes))
    shards = zip(task.survey.shards, headers, strict=True)
    first = next((shard for shard, header in shards if header["texts"]), task.survey.shards[0])
    execution.texts = tuple(Text(record.text) for record in task.corpus.read(first))
    run, result = task.study.merge(_States(task, contents), Collected(info, (), corpus=counts), execution)
    return execution.finish(run), result


@dataclass(frozen=True)
class _States:
    """The states of all shards that have texts; they are read each time that they are needed."""

    task: ShardTask
    contents: ShardFiles | ShardMemory

    def __iter__(self) -> Iterator[PartState]:
        return (content.state for content in _in_order(self.task, self.contents) if content.header["texts"])


def _in_order(task: ShardTask, contents: ShardFiles | ShardMemory) -> Iterator[ShardContent]:
    """Yield all shards, one in memory at a time."""
    for shard in task.survey.shards:
        content = contents.read(shard.index)
        if content is None:
            raise UsageError(f"shard {shard.index} was deleted while the corpus was read: run the same command again")
        yield content


def _counts(task: ShardTask, headers: Sequence[Mapping[str, Any]]) -> CorpusCounts:
    """Return how much was read; of two corpora how much of the first, with that of the second as `against`."""
    sides = task.corpus.sides or (task.corpus,)
    counts = []
    for number, corpus in enumerate(sides):
        of_side = [header for header, shard in zip(headers, task.survey.shards, strict=True) if shard.side == number]
        examples = [place for header in of_side for place in header["examples"]]
        survey = corpus.survey(task.texts_of_a_shard)
        counts.append(
            CorpusCounts(
                texts=sum(header["texts"] for header in of_side),
                tokens=sum(header.get("tokens", 0) for header in of_side),
                files=len(corpus.files),
                malformed=survey.skipped,
                skipped=sum(header["skipped"] for header in of_side),
                examples=tuple(examples[:_EXAMPLES]),
                sha256=survey.digest,
            )
        )
    return counts[0] if len(counts) == 1 else replace(counts[0], against=counts[1])


def _key(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json_line(parts).encode()).hexdigest()[:12]


def _missing(task: ShardTask, files: ShardFiles, tell: Callable[[str], None]) -> list[Shard]:
    """Return the shards that must be computed; tell which files of earlier runs cannot be used."""
    if others := files.remove_others():
        tell(f"{others} shards in {files.path} are of another model, version or corpus: they are computed again")
    missing = []
    for shard in task.survey.shards:
        try:
            content = files.read(shard.index)
        except UsageError as error:
            tell(f"shard {shard.index} is computed again: {error}")
            content = None
        missing += [shard] if content is None else []
    if texts := task.survey.texts - sum(shard.texts for shard in missing):
        tell(f"{texts:,} of {task.survey.texts:,} texts were read by an interrupted run and are not read again")
    return missing
