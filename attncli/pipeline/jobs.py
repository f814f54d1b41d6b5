"""Whole jobs as the command line does them: from texts, or from a saved run, to the files of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli import store
from attncli.data import Attention, Kind, RunInfo, Selection, TakeEdges, Text, Zoom
from attncli.errors import UsageError, did_you_mean
from attncli.pipeline.pictures import Picture, Show, fitted, pictures, shared_top
from attncli.pipeline.progress import Track, untracked
from attncli.pipeline.request import Request
from attncli.pipeline.run import Run, reshaped
from attncli.store import OutputFolder
from attncli.transforms import zoomed

if TYPE_CHECKING:
    from attncli.pipeline.model import Model

PICTURES = ("png", "svg", "pdf")
TABLES = ("json", "csv", "parquet", "jsonl")


@dataclass(frozen=True)
class Files:
    """Where results go. `out` None: a folder named after what was asked for."""

    out: str | None = None
    force: bool = False
    save_maps: bool = False
    maps_format: str = "safetensors"
    layout: str = "layer,head,query,key"


@dataclass(frozen=True, eq=False)
class Held:
    """What several jobs share: a model, the texts for it, and their one forward pass.

    run  with whole maps; None where these would not fit, so that each job makes a pass of its own
    """

    model: Model
    texts: tuple[Text, ...]
    info: RunInfo
    run: Run | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """What one command was asked to do.

    source  the arguments of `load`, or a saved run
    more    options of this command alone that change its result
    given   options as they were typed
    held    what is shared with other jobs of the same model and texts
    """

    command: str
    source: Mapping[str, Any] | Run
    request: Request
    texts: tuple[Text, ...] = ()
    files: Files = field(default_factory=Files)
    more: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    held: Held | None = None

    @property
    def there(self) -> Run | None:
        """The run whose maps are there already, saved or shared; None where the model is to be run."""
        if isinstance(self.source, Run):
            return self.source
        # what is shared are weights, of which no norms can be made
        return None if self.held is None or self.request.by == "norm" else self.held.run

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """All options that change the result."""
        files: dict[str, Any] = {"save_maps": self.files.save_maps}
        if self.files.save_maps:
            files |= {"maps_format": self.files.maps_format, "layout": self.files.layout}
        if isinstance(self.source, Run):
            labels = store.input_sha256(one.text for one in self.source.inputs)
            origin = {"from": dict(self.source.info.resolved), "labels": labels}
        else:
            origin = dict(self.source)
        return {**origin, **self.request.resolved(), **self.more, **files}

    @cached_property
    def folder(self) -> OutputFolder:
        """The folder, looked at before the long work: an `OutputError` where it cannot be or is another's."""
        if isinstance(self.source, Run):
            info = self.source.info
            model, revision, inputs = info.model, info.revision, info.input_sha256
        else:
            model, revision = self.source["name"], self.source.get("revision")
            inputs = store.input_sha256(self.texts)
        name = store.digest(model, revision, inputs, self.resolved)
        path = self.files.out or store.default_folder(self.command, model, name)
        return OutputFolder(path, self.command, name, self.files.force)

    def runs(self, track: Track, show: Show) -> Iterator[Run]:
        """The maps to draw as one run after another, so that few are held at a time; where whole ones are kept, as one.

        Those to keep are saved on the way.
        """
        if self.there is not None or self.files.save_maps:
            run = self.gather(track)
            shown = tuple(zoomed(each, fitted(self.request.zoom, show, [_counts(each)])) for each in run.maps)
            self.save(run)
            yield replace(run, maps=shown)
            return
        model = self.load()
        pages = _pages(model.heads(self.request), self.request)
        request = replace(self.request, zoom=fitted(self.request.zoom, show, pages))
        yield from map(self.informed, model.runs(self.texts, request, track))

    def looked_at(self, track: Track) -> Iterator[Run]:
        """The rows or columns that the request looks at, run by run; whole maps where they are there, or to be kept."""
        if self.there is not None or self.files.save_maps:
            yield self.gather(track)
        else:
            yield from map(self.informed, self.load().runs(self.texts, self.request, track))

    def gather(self, track: Track, take: TakeEdges | None = None) -> Run:
        """Everything as one run, its maps whole; `take` gets the strongest edges chunk by chunk."""
        request = replace(self.request, zoom=Zoom(), looking=None)
        if self.there is not None:
            where = f"the {'maps' if self.there.info.cls == 'file' else 'run'} of {self.there.info.model}"
            run = reshaped(self.there, request, where)
            if self.held is not None and not request.neurons:
                run = replace(run, vectors=())
            if request.metrics:
                run = replace(run, statistics=run.stats(request.metrics, request.per_query))
            if request.beside:
                run = run.with_beside(request, take)
        else:
            run = self.load().gather(self.texts, request, track, take)
        return self.informed(run)

    def load(self) -> Model:
        """The model that the job is for; a saved run has none."""
        if self.held is not None:
            return self.held.model
        assert not isinstance(self.source, Run)  # see `there`
        return load_model(self.source)

    def informed(self, run: Run) -> Run:
        """The same run, with what was asked for."""
        return replace(run, info=replace(run.info, given=dict(self.given), resolved=self.resolved))

    def save(self, run: Run) -> None:
        """Keep the maps where that was asked for."""
        if self.files.save_maps:
            layout, format = self.files.layout, self.files.maps_format
            parts = run.inputs, run.maps, run.statistics, run.vectors
            store.save_run(self.folder, *parts, layout=layout, format=format)


def load_model(arguments: Mapping[str, Any]) -> Model:
    """The model of these arguments of `attncli.load`."""
    # here and not above: to draw a saved run needs neither torch nor transformers
    from attncli.pipeline.model import load

    return load(**arguments)


def _counts(attention: Attention) -> list[int]:
    """How many maps each layer has."""
    return [len(maps.weights) for maps in attention.layers]


def _pages(heads: Selection, request: Request) -> list[list[int]]:
    """The same for each kind, of maps that are still to come."""
    kinds: dict[Kind, list[int]] = {}
    for (kind, _), numbers in heads.items():
        kinds.setdefault(kind, []).append(len(numbers) if request.aggregate == "none" else 1)
    return [counts if request.aggregate_layers == "none" else counts[:1] for counts in kinds.values()]


@dataclass(frozen=True, eq=False)
class Done:
    """What a job has written, and what its user should know."""

    manifest: Mapping[str, Any]
    notes: tuple[str, ...]


def draw(job: Job, show: Show, formats: Sequence[str], track: Track, wrote: Callable[[Path], None]) -> Done:
    """Draw the maps of a job; `wrote` hears of each picture when it is there."""
    folder = job.folder
    # of several texts all is shown as one work, of a single one how far it is read, then how far it is drawn
    over_texts, in_text = (track, untracked) if len(job.texts) > 1 else (untracked, track)
    with over_texts("drawing", len(job.texts), "texts") as texts_done:
        for run in job.runs(in_text, show):
            count = max(len(job.texts), len({attention.text for attention in run.maps}))
            drawn = [(picture, top) for attention in run.maps for picture, top in _with_top(attention, show, count)]
            with in_text("drawing", len(drawn), "pictures") as pictures_done:
                for picture, top in drawn:
                    for path in _save(folder, picture, run.info.title, count, top, formats):
                        wrote(path)
                    pictures_done(1)
                    texts_done(len(run.inputs) / len(drawn))
    return Done(folder.finish(run.info), run.info.notes)


def _with_top(attention: Attention, show: Show, texts: int) -> Iterator[tuple[Picture, float | None]]:
    top = shared_top(attention) if show.scale == "shared" else None
    return ((picture, top) for picture in pictures(attention, show, texts))


def _save(
    folder: OutputFolder, picture: Picture, model: str, texts: int, top: float | None, formats: Sequence[str]
) -> Iterator[Path]:
    from attncli.views._save import save

    note = f"text {picture.attention.text + 1} of {texts}" if texts > 1 else ""
    figure = picture.draw(model, note, top)
    for format in formats:
        path = folder.path_for(f"{picture.name}.{format}")
        save(figure, path, description=f"{model} {picture.name}")
        yield path


def chosen(given: Iterable[str] | None, among: Sequence[str], always: Sequence[str]) -> tuple[str, ...]:
    """Formats from what was typed (`png,svg`, perhaps repeatedly); an unknown one is a `UsageError`."""
    names = [name.strip() for part in given or () for name in part.split(",")]
    for name in names:
        if name not in among:
            raise UsageError(f"unknown --format '{name}': {did_you_mean(name, among)}")
    return tuple(dict.fromkeys([*always, *names]))
