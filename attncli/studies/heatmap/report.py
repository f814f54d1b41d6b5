"""What `heatmap` writes: which pictures the selected maps become, what they are called, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from attncli.arguments import PictureArguments
from attncli.data import Attention, LayerMaps, Zoom
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import text_note, text_prefix
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.engine.request import ZoomOptions
from attncli.studies.heatmap.options import HeatmapOptions
from attncli.vocabulary import LINEAR_UP_TO

NO_MEAN = "the mean over heads is left out: it cannot be computed from pooled maps, only from full ones"

if TYPE_CHECKING:  # matplotlib takes long to load: it is imported in functions
    from matplotlib.figure import Figure


class HeatmapArguments(ZoomOptions, PictureArguments, total=False):
    """Which part of the maps `run.heatmap` shows, and how the picture looks; all are optional."""


def split_arguments(options: HeatmapArguments) -> tuple[ZoomOptions, PictureArguments]:
    """Return the arguments that say what is shown, and those that say how."""
    parts: list[Any] = [
        {name: value for name, value in options.items() if name in known.__annotations__}
        for known in (ZoomOptions, PictureArguments)
    ]
    return parts[0], parts[1]


@dataclass(frozen=True)
class PictureChoice:
    """What decides which pictures the maps of a text and kind become.

    grid    whether one page of all maps is wanted
    each    whether one picture of each map is wanted
    layers  whether layers were selected, which then have pictures of their own
    heads   whether heads were selected, which then have pictures of their own in selected layers
    """

    grid: bool = False
    each: bool = False
    layers: bool = False
    heads: bool = False

    @property
    def shows_means(self) -> bool:
        """Whether each layer has a picture of the mean over its heads."""
        return not (self.one_page or self.each or self.heads)

    @property
    def one_page(self) -> bool:
        """Whether all maps share one page."""
        return self.grid or not (self.each or self.layers)

    def fit(self, zoom: Zoom, pages: Iterable[Sequence[int]]) -> Zoom:
        """Return a zoom with the mean over heads if these pictures show it, and cells no finer than they can show.

        pages  for each page, the number of maps of each layer
        """
        if not self.one_page:
            return replace(zoom, beside=("mean",) if self.shows_means else ())
        from attncli.plotting.mosaic import fit_to_pages

        pages = list(pages)
        shows_mean = any(len(page) == 1 for page in pages)
        return replace(fit_to_pages(zoom, pages), beside=("mean",) if shows_mean else ())


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture: its file name without suffix, its maps, and whether it is a page of many maps."""

    name: str
    attention: Attention
    page: bool = False

    def draw(
        self,
        model: str = "",
        note: str = "",
        *,
        kinds: KindNames = KNOWN,
        log: bool | None = None,
        top: float | None = None,
        own_scale: bool = False,
        look: PictureArguments | None = None,
    ) -> Figure:
        """Return the figure.

        log        whether colours are logarithmic; None: if more than 256 tokens are on a side
        top        upper end of the colour scale; None: the largest weight
        own_scale  whether each map has its own scale
        look       how the picture looks, in place of the current style
        """
        from attncli.plotting import grid, heatmap
        from attncli.plotting.picture_style import changed_style

        longest = max(len(self.attention.queries), len(self.attention.keys))
        log = longest > LINEAR_UP_TO if log is None else log
        captions: dict[str, Any] = {"model": model, "note": note, "kinds": kinds}
        with changed_style(look or {}):
            if self.page:
                return grid.draw(self.attention, **captions, log=log, vmax=top, each=own_scale)
            return heatmap.draw(self.attention, **captions, log=log, vmax=None if own_scale else top)


def pictures(attention: Attention, choice: PictureChoice, prefix: str = "") -> list[Picture]:
    """Return the pictures of the maps of one text and kind.

    Nothing selected: one page. Layers selected: a page and the mean of each layer. Layers and heads selected: a
    picture of each map. Names are `<kind>-grid`, `<kind>-L03-grid`, `<kind>-L03-mean` and `<kind>-L03-H05`.

    prefix  text before the names, such as `T000-`
    """
    name = f"{prefix}{attention.kind}"
    if choice.one_page:
        label = f"-{_label(attention.layers[0])}" if choice.layers and len(attention.layers) == 1 else ""
        return [Picture(f"{name}{label}-grid", attention, page=True)]
    single_maps = choice.each or choice.heads
    return [picture for maps in attention.layers for picture in _of_layer(name, attention, maps, single_maps)]


def _of_layer(name: str, attention: Attention, maps: LayerMaps, single_maps: bool) -> Iterator[Picture]:
    layer, name = replace(attention, layers=(maps,)), f"{name}-{_label(maps)}"
    if not maps.heads:
        yield Picture(f"{name}-{attention.aggregate}", layer)
    elif single_maps:
        yield from (Picture(f"{name}-H{head:02}", layer.sel(head=head)) for head in maps.heads)
    else:
        yield Picture(f"{name}-grid", layer, page=True)
        if layer.can_combine_heads("mean"):
            yield Picture(f"{name}-mean", layer.mean("head"))


def _label(maps: LayerMaps) -> str:
    return f"L{maps.layer:02}" if isinstance(maps.layer, int) else f"L{maps.layer}"


def maps_per_layer(attention: Attention) -> list[int]:
    """Return the number of maps of each layer."""
    return [len(maps.weights) for maps in attention.layers]


def drawings(
    runs: Iterable[Collected], texts: int, choice: PictureChoice, options: HeatmapOptions, notes: list[str]
) -> Iterator[Drawing]:
    """Yield the pictures of one run after another.

    texts  number of texts of all runs
    notes  is filled with the notes of the run that is drawn; those of the last run hold for all texts
    """
    from attncli.plotting.cells import largest_weight

    own_scale = options.scale == "panel"
    for run in runs:
        notes[:] = run.info.notes
        for attention in run.maps:
            if choice.shows_means and not attention.can_combine_heads("mean"):
                notes.append(NO_MEAN)
            prefix = text_prefix(attention.text, texts)
            note = text_note(attention.text, texts)
            shared = None if own_scale else largest_weight([attention])
            for picture in pictures(attention, choice, prefix):
                look: dict[str, Any] = {"log": options.log, "top": shared, "own_scale": own_scale}
                yield Drawing(picture.name, partial(picture.draw, **run.info.captions(note), **look))
