"""Whole jobs as the command line does them: from texts, or from a saved run, to the files of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attncli import store
from attncli.data import EdgesConsumer, RunInfo, Text, Zoom
from attncli.engine.collected import Collected
from attncli.engine.progress import Track
from attncli.engine.request import Request
from attncli.errors import UsageError, did_you_mean
from attncli.store import OutputFolder

if TYPE_CHECKING:
    from attncli.engine.runner import Runner

PICTURES = ("png", "svg", "pdf")
TABLES = ("json", "csv", "parquet", "jsonl")


@dataclass(frozen=True)
class OutputSettings:
    """Where results go. `out` None: a folder named after what was asked for."""

    out: str | None = None
    force: bool = False
    save_maps: bool = False
    maps_format: str = "safetensors"
    layout: str = "layer,head,query,key"


@dataclass(frozen=True, eq=False)
class SharedPass:
    """What several jobs share: a model, the texts for it, and their one forward pass.

    run  with whole maps; None where these would not fit, so that each job makes a pass of its own
    """

    model: Runner
    texts: tuple[Text, ...]
    info: RunInfo
    run: Collected | None = None


@dataclass(frozen=True, eq=False)
class Invocation:
    """What one command was asked to do.

    source  the arguments of `load`, or a saved run
    more    options of this command alone that change its result
    given   options as they were typed
    held    what is shared with other jobs of the same model and texts
    """

    command: str
    source: Mapping[str, Any] | Collected
    request: Request
    texts: tuple[Text, ...] = ()
    files: OutputSettings = field(default_factory=OutputSettings)
    more: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    held: SharedPass | None = None

    @property
    def there(self) -> Collected | None:
        """The run whose maps are there already, saved or shared; None where the model is to be run."""
        if isinstance(self.source, Collected):
            return self.source
        # what is shared are weights, of which no norms can be made
        return None if self.held is None or self.request.by == "norm" else self.held.run

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """All options that change the result."""
        files: dict[str, Any] = {"save_maps": self.files.save_maps}
        if self.files.save_maps:
            files |= {"maps_format": self.files.maps_format, "layout": self.files.layout}
        if isinstance(self.source, Collected):
            labels = store.input_sha256(one.text for one in self.source.inputs)
            origin = {"from": dict(self.source.info.resolved), "labels": labels}
        else:
            origin = dict(self.source)
        return {**origin, **self.request.resolved(), **self.more, **files}

    @cached_property
    def folder(self) -> OutputFolder:
        """The folder, looked at before the long work: an `OutputError` where it cannot be or is another's."""
        if isinstance(self.source, Collected):
            info = self.source.info
            model, revision, inputs = info.model, info.revision, info.input_sha256
        else:
            model, revision = self.source["name"], self.source.get("revision")
            inputs = store.input_sha256(self.texts)
        name = store.digest(model, revision, inputs, self.resolved)
        path = self.files.out or store.default_folder(self.command, model, name)
        return OutputFolder(path, self.command, name, self.files.force)

    def looked_at(self, track: Track) -> Iterator[Collected]:
        """The rows or columns that the request looks at, run by run; whole maps where they are there, or to be kept."""
        if self.there is not None or self.files.save_maps:
            yield self.gather(track)
        else:
            yield from map(self.informed, self.load().runs(self.texts, self.request, track))

    def gather(self, track: Track, take: EdgesConsumer | None = None) -> Collected:
        """Everything as one run, its maps whole; `take` gets the strongest edges chunk by chunk."""
        request = replace(self.request, zoom=Zoom(), looking=None)
        if self.there is not None:
            where = f"the {'maps' if self.there.info.cls == 'file' else 'run'} of {self.there.info.model}"
            run = self.there.reshaped(request, where)
            if self.held is not None and not request.neurons:
                run = replace(run, vectors=())
            if request.metrics:
                run = replace(run, statistics=run.stats(request.metrics, request.per_query))
            if request.beside:
                run = run.with_extras(request, take)
        else:
            run = self.load().gather(self.texts, request, track, take)
        return self.informed(run)

    def load(self) -> Runner:
        """The model that the job is for; a saved run has none."""
        if self.held is not None:
            return self.held.model
        assert not isinstance(self.source, Collected)  # see `there`
        return load_model(self.source)

    def informed(self, run: Collected) -> Collected:
        """The same run, with what was asked for."""
        return replace(run, info=replace(run.info, given=dict(self.given), resolved=self.resolved))

    def save(self, run: Collected) -> None:
        """Keep the maps where that was asked for."""
        if self.files.save_maps:
            layout, format = self.files.layout, self.files.maps_format
            parts = run.inputs, run.maps, run.statistics, run.vectors
            store.save_run(self.folder, *parts, layout=layout, format=format)


def load_model(arguments: Mapping[str, Any]) -> Runner:
    """The model of these arguments of `attncli.load`."""
    # here and not above: to draw a saved run needs neither torch nor transformers
    from attncli.engine.runner import load_runner

    return load_runner(arguments)


@dataclass(frozen=True, eq=False)
class Published:
    """What a job has written, and what its user should know."""

    manifest: Mapping[str, Any]
    notes: tuple[str, ...]


def choose_formats(given: Iterable[str] | None, among: Sequence[str], always: Sequence[str]) -> tuple[str, ...]:
    """Formats from what was typed (`png,svg`, perhaps repeatedly); an unknown one is a `UsageError`."""
    names = [name.strip() for part in given or () for name in part.split(",")]
    for name in names:
        if name not in among:
            raise UsageError(f"unknown --format '{name}': {did_you_mean(name, among)}")
    return tuple(dict.fromkeys([*always, *names]))
