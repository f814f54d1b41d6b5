"""Which pictures a selection of maps becomes, what they are called, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from attncli.data import Attention, LayerMaps, Zoom

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LINEAR_UP_TO = 256
"""Tokens a side up to which colours are linear by default: most weights of longer rows are too small for it."""


@dataclass(frozen=True)
class Show:
    """How maps are laid out in pictures.

    layered, headed  whether layers, heads were chosen: they get pictures of their own
    shape            auto; grid: always the page; each: always one picture per map
    log              colours by the logarithm of the weight; None: where more than 256 tokens are shown
    scale            shared: one colour scale for all pictures of a text and kind; panel: each map its own
    """

    layered: bool = False
    headed: bool = False
    shape: Literal["auto", "grid", "each"] = "auto"
    log: bool | None = None
    scale: Literal["shared", "panel"] = "shared"

    @property
    def on_page(self) -> bool:
        """Whether all maps of a kind share one page, and none has a picture of its own."""
        return self.shape == "grid" or (self.shape == "auto" and not self.layered)


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture to be drawn: its name without suffix, its maps, and whether it is a page of many."""

    name: str
    attention: Attention
    page: bool
    show: Show

    def draw(self, model: str, note: str, vmax: float | None) -> Figure:
        """Draw it; `vmax` is the top of the shared colour scale."""
        from attncli.plotting import grid, heatmap

        shown = max(len(self.attention.queries), len(self.attention.keys))
        log = shown > LINEAR_UP_TO if self.show.log is None else self.show.log
        own = self.show.scale == "panel"
        if self.page:
            return grid.draw(self.attention, model=model, note=note, log=log, vmax=vmax, each=own)
        return heatmap.draw(self.attention, model=model, note=note, log=log, vmax=None if own else vmax)


def pictures(attention: Attention, show: Show, texts: int = 1) -> list[Picture]:
    """The pictures of the maps of one text and kind.

    Nothing chosen: one page. A layer chosen: its page and its mean. Layer and head chosen: a picture of each.
    Names are `<kind>-grid`, `<kind>-L03-grid`, `<kind>-L03-mean`, `<kind>-L03-H05`; with several texts they begin
    with the number of the text: `T000-encoder-grid`.
    """
    prefix = f"T{attention.text:03}-" if texts > 1 else ""
    name = f"{prefix}{attention.kind}"
    if show.shape == "each" or (show.shape == "auto" and show.layered and show.headed):
        return [picture for maps in attention.layers for picture in _singles(name, attention, maps, show)]
    if show.on_page:
        (only,) = attention.layers if len(attention.layers) == 1 else (None,)
        label = f"-{_layer(only)}" if only is not None and show.layered else ""
        return [Picture(f"{name}{label}-grid", attention, True, show)]
    return [picture for maps in attention.layers for picture in _layer_pictures(name, attention, maps, show)]


def _singles(name: str, attention: Attention, maps: LayerMaps, show: Show) -> Iterator[Picture]:
    one = _only(attention, maps)
    if not maps.heads:
        yield Picture(f"{name}-{_layer(maps)}-{attention.aggregate}", one, False, show)
    for head in maps.heads:
        yield Picture(f"{name}-{_layer(maps)}-H{head:02}", one.sel(head=head), False, show)


def _layer_pictures(name: str, attention: Attention, maps: LayerMaps, show: Show) -> Iterator[Picture]:
    if not maps.heads:
        yield from _singles(name, attention, maps, show)
        return
    one = _only(attention, maps)
    yield Picture(f"{name}-{_layer(maps)}-grid", one, True, show)
    yield Picture(f"{name}-{_layer(maps)}-mean", one.mean("head"), False, show)


def _only(attention: Attention, maps: LayerMaps) -> Attention:
    return replace(attention, layers=(maps,))


def _layer(maps: LayerMaps) -> str:
    return f"L{maps.layer:02}" if isinstance(maps.layer, int) else f"L{maps.layer}"


def fitted(zoom: Zoom, show: Show, pages: Iterable[Sequence[int]]) -> Zoom:
    """The same, pooled no finer than the panels of a page can show.

    pages  for each page, how many maps each of its layers has
    """
    if not show.on_page or zoom.resolution is None:
        return zoom
    # here and not above: it loads matplotlib, which only pictures need
    from attncli.plotting.grid import panel_side

    return replace(zoom, panel=max(map(panel_side, pages)))


def shared_top(attention: Attention) -> float:
    """The top of the colour scale that all pictures of these maps share."""
    from attncli.plotting.colour_scale import largest_weight

    return largest_weight([attention])
