"""A loaded model that runs texts: how it is captured, forward passes, and their results."""

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
        """How this model's attention is caught, found out by one short pass."""
        check_choice({"capture": capture}, "capture", CAPTURES)
        if capture not in self._plans:
            self._plans[capture] = plan(self.loaded, capture)  # type: ignore[arg-type]
        return self._plans[capture]

    def gather(
        self, texts: Sequence[Text], request: Request, track: Track = untracked, take: EdgesConsumer | None = None
    ) -> Collected:
        """All texts as one run; `take` gets the strongest edges chunk by chunk, else the run holds them."""
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
        """The same of what `prepare` made of these texts; `more` sinks see the pass too."""
        return gathered(prepared, self.info_of(prepared, texts), track, take, more)

    def selected_heads(self, request: Request) -> Selection:
        """The heads that a request chooses; what does not exist is a `UsageError`."""
        return Pass.prepare(self.loaded, self.plan(request.capture), (), request).heads

    def runs(self, texts: Sequence[Text], request: Request, track: Track = untracked) -> Iterator[Collected]:
        """The same as one run per batch, so that the maps of one batch are held at a time."""
        prepared = self.prepare(texts, request, track)
        prepared.check_memory(at_once=False)
        info = self.info_of(prepared, texts)
        for found in prepared.maps(track):
            yield Collected(replace(info, notes=(*info.notes, *found.notes)), found.inputs, found.maps)

    def prepare(self, texts: Sequence[Text], request: Request, track: Track = untracked) -> Pass:
        """The texts encoded and the heads chosen, before the pass; a target that is to be written is written here."""
        if not self.loaded.is_encoder_decoder and any(text.target is not None for text in texts):
            raise UsageError(f"--target is what a decoder reads beside an encoder, {self.loaded.name} has one stack")
        found = self.plan(request.capture)
        asked: Any = {name: getattr(request, name) for name in ("max_tokens", "generate", "batch_tokens")}
        with track("writing", sum(text.target is None for text in texts), "texts") as written:
            batches = tuple(encode(self.loaded, texts, **asked, on_generated=written))
        prepared = Pass.prepare(self.loaded, found, batches, request)
        _log.info("capture by %s: %s", found.route, found.reason)
        _log.info("texts: %d, batches: %d, layers: %d", len(texts), len(prepared.batches), len(prepared.heads))
        return prepared

    def info_of(self, prepared: Pass, texts: Sequence[Text]) -> RunInfo:
        """Where the results of a pass come from."""
        info = self.loaded.run_info(prepared.plan.route)
        resolved = prepared.request.resolved()
        return replace(info, resolved=resolved, notes=prepared.notes, input_sha256=input_sha256(texts))


def load_runner(arguments: Mapping[str, Any]) -> Runner:
    """Load a model with the arguments of `attncli.models.load`."""
    return Runner(models.load(**arguments))


def gathered(
    prepared: Pass, info: RunInfo, track: Track, take: EdgesConsumer | None = None, more: Sequence[Sink] = ()
) -> Collected:
    request = prepared.request
    found: Gathered = prepared.gather(track, take, more)
    info = replace(info, notes=(*info.notes, *found.notes))
    statistics = found.statistics
    if request.metrics and statistics is None:
        statistics = measure_maps(found.maps, found.inputs, request)
    maps = found.maps if request.keep_maps else ()
    return Collected(info, found.inputs, maps, statistics, found.edges, found.profile, found.vectors)
