"""Which pictures the selected maps become, what they are called, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attncli.data import Attention, LayerMaps, Zoom
from attncli.vocabulary import LINEAR_UP_TO

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    def one_page(self) -> bool:
        """Whether all maps share one page."""
        return self.grid or not (self.each or self.layers)

    @property
    def single_maps(self) -> bool:
        """Whether each map has a picture of its own."""
        return self.each or (self.layers and self.heads and not self.grid)

    def fit(self, zoom: Zoom, pages: Iterable[Sequence[int]]) -> Zoom:
        """Return a zoom whose cells are no finer than these pictures can show.

        pages  for each page, the number of maps of each layer
        """
        if not self.one_page:
            return zoom
        # imported here: matplotlib takes long to load
        from attncli.plotting.grid import fit_to_pages

        return fit_to_pages(zoom, pages)


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture: its file name without suffix, its maps, and whether it is a page of many maps."""

    name: str
    attention: Attention
    page: bool

    def draw(
        self, model: str = "", note: str = "", *, log: bool | None = None, top: float | None = None, own: bool = False
    ) -> Figure:
        """Return the figure.

        log  whether colours are logarithmic; None: if more than 256 tokens are on a side
        top  upper end of the colour scale; None: the largest weight
        own  whether each map has its own scale
        """
        # imported here: matplotlib takes long to load
        from attncli.plotting import grid, heatmap

        longest = max(len(self.attention.queries), len(self.attention.keys))
        log = longest > LINEAR_UP_TO if log is None else log
        if self.page:
            return grid.draw(self.attention, model=model, note=note, log=log, vmax=top, each=own)
        return heatmap.draw(self.attention, model=model, note=note, log=log, vmax=None if own else top)


def pictures(attention: Attention, choice: PictureChoice, prefix: str = "") -> list[Picture]:
    """Return the pictures of the maps of one text and kind.

    Nothing selected: one page. Layers selected: a page and the mean of each layer. Layers and heads selected: a
    picture of each map. Names are `<kind>-grid`, `<kind>-L03-grid`, `<kind>-L03-mean` and `<kind>-L03-H05`.

    prefix  text before the names, such as `T000-`
    """
    name = f"{prefix}{attention.kind}"
    if choice.single_maps:
        return [picture for maps in attention.layers for picture in _single_maps(name, attention, maps)]
    if choice.one_page:
        label = f"-{_label(attention.layers[0])}" if choice.layers and len(attention.layers) == 1 else ""
        return [Picture(f"{name}{label}-grid", attention, page=True)]
    return [picture for maps in attention.layers for picture in _page_and_mean(name, attention, maps)]


def _single_maps(name: str, attention: Attention, maps: LayerMaps) -> Iterator[Picture]:
    layer = replace(attention, layers=(maps,))
    if not maps.heads:
        yield Picture(f"{name}-{_label(maps)}-{attention.aggregate}", layer, page=False)
    for head in maps.heads:
        yield Picture(f"{name}-{_label(maps)}-H{head:02}", layer.sel(head=head), page=False)


def _page_and_mean(name: str, attention: Attention, maps: LayerMaps) -> Iterator[Picture]:
    if not maps.heads:
        yield from _single_maps(name, attention, maps)
        return
    layer = replace(attention, layers=(maps,))
    yield Picture(f"{name}-{_label(maps)}-grid", layer, page=True)
    yield Picture(f"{name}-{_label(maps)}-mean", layer.mean("head"), page=False)


def _label(maps: LayerMaps) -> str:
    return f"L{maps.layer:02}" if isinstance(maps.layer, int) else f"L{maps.layer}"


def maps_per_layer(attention: Attention) -> list[int]:
    """Return the number of maps of each layer."""
    return [len(maps.weights) for maps in attention.layers]
