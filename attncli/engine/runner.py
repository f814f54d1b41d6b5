"""A loaded model that runs forward passes over texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from attncli import models
from attncli.capturing import CapturePlan, plan
from attncli.data import EdgesConsumer, RunInfo, Selection, Text
from attncli.engine.collected import Collected
from attncli.engine.measuring import measure_maps
from attncli.engine.passes import Gathered, Pass
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request, check_choice
from attncli.errors import UsageError
from attncli.inputs.encode import encode
from attncli.models import Loaded
from attncli.store import input_sha256
from attncli.stream import Sink
from attncli.vocabulary import CAPTURES

_log = logging.getLogger("attncli")


@dataclass(frozen=True, eq=False)
class Runner:
    """A loaded model with its capture plans."""

    loaded: Loaded
    _plans: dict[str, CapturePlan] = field(default_factory=dict, repr=False)

    def plan(self, capture: str = "auto") -> CapturePlan:
        """Return how the attention of this model is captured, which one short forward pass finds out."""
        check_choice({"capture": capture}, "capture", CAPTURES)
        if capture not in self._plans:
            self._plans[capture] = plan(self.loaded, capture)  # type: ignore[arg-type]
        return self._plans[capture]

    def gather(
        self, texts: Sequence[Text], request: Request, track: Track = untracked, take: EdgesConsumer | None = None
    ) -> Collected:
        """Return all texts as one run.

        take  receives the strongest edges chunk by chunk; without it they are in the run
        """
        prepared = self.prepare(texts, request, track)
        if request.keep_maps or request.combined:
            prepared.check_memory(at_once=True)
        return self.finish(prepared, texts, track, take)

    def finish(
        self,
        prepared: Pass,
        texts: Sequence[Text],
        track: Track = untracked,
        take: EdgesConsumer | None = None,
        more: Sequence[Sink] = (),
    ) -> Collected:
        """Run a prepared pass over these texts and return it as one run.

        take  receives the strongest edges chunk by chunk; without it they are in the run
        more  further sinks that see the attention
        """
        return gathered(prepared, self.info_of(prepared, texts), track, take, more)

    def selected_heads(self, request: Request) -> Selection:
        """Return the heads that a request selects; raise UsageError if one does not exist."""
        return Pass.prepare(self.loaded, self.plan(request.capture), (), request).heads

    def runs(self, texts: Sequence[Text], request: Request, track: Track = untracked) -> Iterator[Collected]:
        """Yield one run per batch, so that only the maps of one batch are in memory."""
        prepared = self.prepare(texts, request, track)
        prepared.check_memory(at_once=False)
        info = self.info_of(prepared, texts)
        for batch in prepared.maps(track):
            yield Collected(replace(info, notes=(*info.notes, *batch.notes)), batch.inputs, batch.maps)

    def prepare(self, texts: Sequence[Text], request: Request, track: Track = untracked) -> Pass:
        """Return a pass over encoded texts that is ready to run; missing targets are generated now."""
        if not self.loaded.is_encoder_decoder and any(text.target is not None for text in texts):
            raise UsageError(
                f"--target needs a model with encoder and decoder, {self.loaded.name} has only one of them"
            )
        capture_plan = self.plan(request.capture)
        options: Any = {name: getattr(request, name) for name in ("max_tokens", "generate", "batch_tokens")}
        with track("writing", sum(text.target is None for text in texts), "texts") as written:
            batches = tuple(encode(self.loaded, texts, **options, on_generated=written))
        prepared = Pass.prepare(self.loaded, capture_plan, batches, request)
        _log.info("capture by %s: %s", capture_plan.route, capture_plan.reason)
        _log.info("texts: %d, batches: %d, layers: %d", len(texts), len(prepared.batches), len(prepared.heads))
        return prepared

    def info_of(self, prepared: Pass, texts: Sequence[Text]) -> RunInfo:
        """Return where the results of a pass come from."""
        info = self.loaded.run_info(prepared.plan.route)
        resolved = prepared.request.resolved()
        return replace(info, resolved=resolved, notes=prepared.notes, input_sha256=input_sha256(texts))


def load_runner(arguments: Mapping[str, Any]) -> Runner:
    """Load a model with the arguments of `attncli.models.load`."""
    return Runner(models.load(**arguments))


def gathered(
    prepared: Pass, info: RunInfo, track: Track, take: EdgesConsumer | None = None, more: Sequence[Sink] = ()
) -> Collected:
    """Run a prepared pass and return its results, with statistics of combined maps if requested."""
    request = prepared.request
    results: Gathered = prepared.gather(track, take, more)
    info = replace(info, notes=(*info.notes, *results.notes))
    statistics = results.statistics
    if request.metrics and statistics is None:
        statistics = measure_maps(results.maps, results.inputs, request)
    maps = results.maps if request.keep_maps else ()
    return Collected(info, results.inputs, maps, statistics, results.edges, results.profile, results.vectors)
