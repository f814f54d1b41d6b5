"""A loaded model that runs forward passes over texts, and a pass that several commands share."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from attncli import models
from attncli.arguments import checks_arguments
from attncli.capturing import CapturePlan, check_edits, in_eval_mode, kept_plan, ready_edits, with_edited_writer
from attncli.data import EdgesConsumer, RunInfo, Selection, Text
from attncli.data.edits import Edit, parse_edit_line
from attncli.engine.checks import check_choice
from attncli.engine.collected import Collected
from attncli.engine.passes import Pass
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.encode import encode
from attncli.models import Loaded
from attncli.vocabulary import CAPTURES

_log = logging.getLogger("attncli")


@checks_arguments
@dataclass(frozen=True, eq=False)
class Runner:
    """A loaded model."""

    loaded: Loaded

    def plan(self, capture: str = "auto") -> CapturePlan:
        """Return how the attention of this model is captured, which one short forward pass finds out once."""
        check_choice({"capture": capture}, "capture", CAPTURES)
        return kept_plan(self.loaded, capture)  # type: ignore[arg-type]

    def with_edits(self, edits: Sequence[Edit]) -> Self:
        """Return the model with further edits of its attention, which shares all modules; see `Model.edited`."""
        ready = ready_edits(self.loaded, self.plan(), edits)
        return replace(self, loaded=replace(self.loaded, edits=(*self.loaded.edits, *ready)))

    def gather(
        self, texts: Sequence[Text], request: Request, track: Track = untracked, take: EdgesConsumer | None = None
    ) -> Collected:
        """Return all texts as one run; `take` receives the strongest edges, which are else in the run."""
        return self.prepare(texts, request, track).collect(texts, track, take)

    def selected_heads(self, request: Request) -> Selection:
        """Return the heads that a request selects; raise UsageError if one does not exist."""
        return Pass.prepare(self.loaded, self.plan(request.capture), (), request).heads

    def runs(self, texts: Sequence[Text], request: Request, track: Track = untracked) -> Iterator[Collected]:
        """Yield one run per batch in the order of the texts, so that only the maps of one batch are in memory."""
        yield from self.prepare(texts, request, track, in_order=True).runs(texts, track)

    def prepare(
        self,
        texts: Sequence[Text],
        request: Request,
        track: Track = untracked,
        in_order: bool = False,
        open_turn: bool = False,
        first: int = 0,
    ) -> Pass:
        """Return a pass over encoded texts that is ready to run; missing targets are generated now.

        in_order   whether batches follow the order of the texts
        open_turn  whether a chat ends where the assistant is to answer, though nothing is generated
        first      number of the first text
        """
        if not texts:
            raise UsageError("there is no text to read: give at least one")
        if not self.loaded.is_encoder_decoder and any(text.target is not None for text in texts):
            raise UsageError(
                f"--target needs a model with encoder and decoder, {self.loaded.name} has only one of them"
            )
        capture_plan = self.plan(request.capture)
        options: Any = {name: getattr(request, name) for name in ("max_tokens", "generate", "add_bos", "batch_tokens")}
        with track("writing", sum(text.target is None for text in texts), "texts") as written:
            loaded = with_edited_writer(in_eval_mode(self.loaded), capture_plan)
            options |= {"in_order": in_order, "open_turn": open_turn, "first": first}
            batches = tuple(encode(loaded, texts, **options, on_generated=written))
        prepared = Pass.prepare(self.loaded, capture_plan, batches, request)
        read = [text for batch in prepared.batches for text in batch.inputs]
        check_edits(self.loaded.edits, prepared.plan, read, self.loaded.name)
        _log.info("capture by %s: %s", capture_plan.route, capture_plan.reason)
        _log.info("texts: %d, batches: %d, layers: %d", len(texts), len(prepared.batches), len(prepared.heads))
        return prepared


def load_runner(arguments: Mapping[str, Any]) -> Runner:
    """Load a model with the arguments of `attncli.models.load`, and edit it as `with_edit_lines` says."""
    return with_edit_lines(Runner(models.load(**loading_arguments(arguments))), arguments)


def loading_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `attncli.models.load`, without those of edits."""
    return {name: value for name, value in arguments.items() if name not in ("edits", "mean_texts")}


def other_side(runner: Runner, arguments: Mapping[str, Any], other: Mapping[str, Any]) -> Runner:
    """Return the model of other arguments: the one that is loaded already, if they differ only in its edits.

    arguments  arguments that `runner` was loaded with
    """
    if dict(other) == dict(arguments):
        return runner
    if loading_arguments(arguments) != loading_arguments(other):
        return load_runner(other)
    return with_edit_lines(replace(runner, loaded=replace(runner.loaded, edits=())), other)


def with_edit_lines(runner: Runner, arguments: Mapping[str, Any]) -> Runner:
    """Return a model with further edits: `edits`, a line for each, and `mean_texts`, over which means are taken."""
    edits = [parse_edit_line(line) for line in arguments.get("edits", ())]
    texts = tuple(arguments.get("mean_texts", ()))
    edits = [replace(edit, texts=texts) if edit.action == "mean" else edit for edit in edits]
    return runner.with_edits(edits) if edits else runner


@dataclass(frozen=True, eq=False)
class SharedPass:
    """A model, texts and one forward pass that the steps of a file share.

    texts      the texts; empty for a large corpus, which each step reads by itself
    arguments  arguments that the model was loaded with
    corpus     the corpus of the texts, if they are one
    run        results with full maps; None if these do not fit into memory, then each step runs its own pass
    """

    runner: Runner
    texts: tuple[Text, ...]
    info: RunInfo
    run: Collected | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    corpus: Corpus | None = None


def share_corpus(runner: Runner, corpus: Corpus, request: Request) -> SharedPass:
    """Return what steps share that read a corpus by themselves: a model, and no pass."""
    prepared = Pass.prepare(runner.loaded, runner.plan(request.capture), (), replace(request, any_axes=True))
    info = replace(prepared.info_of(()), input_sha256=corpus.survey().digest)
    return SharedPass(runner, (), info, corpus=corpus)


def share_pass(runner: Runner, texts: Sequence[Text], request: Request, track: Track = untracked) -> SharedPass:
    """Return one forward pass over texts with the maps that a request selects; without maps if they do not fit."""
    prepared = runner.prepare(texts, replace(request, any_axes=True), track)
    info = prepared.info_of(texts)
    if problem := prepared.excess(at_once=True):
        info = replace(info, notes=(*info.notes, f"{problem}: each step reads the texts again"))
        return SharedPass(runner, tuple(texts), info)
    return SharedPass(runner, tuple(texts), info, prepared.gather(track, texts=texts))


def merge_infos(infos: Sequence[RunInfo]) -> RunInfo:
    """Return where the results of several runs come from; differing values are joined with commas."""
    names: dict[str, Any] = {}
    for name in ("model", "revision", "cls", "architecture", "dtype", "device", "capture", "tokenizer"):
        values = list(dict.fromkeys(getattr(info, name) for info in infos))
        names[name] = values[0] if len(values) == 1 else ", ".join(str(value or "default") for value in values)
    return replace(infos[0], **names, notes=tuple(dict.fromkeys(note for info in infos for note in info.notes)))
