"""The map of one head, and the maps of all heads."""

from matplotlib.figure import Figure

from attncli.data import Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import with_fixed_style
from attncli.studies.qk_map.result import QueryKeyMap

COLOURS = ("#D55E00", "#0072B2")
_SIDE = 900


@with_fixed_style
def draw_head(result: QueryKeyMap, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the map of the only head of a kind."""
    group = result.groups[kind]
    title = join_parts("queries and keys", kinds.title(kind), f"head {group.names[0]}")
    header = Header.of(title, model, note)
    page = FigureLayout.blank(_SIDE + 2 * EDGE, header.height + _SIDE + EDGE, header)
    axes = page.axes(EDGE, header.height, _SIDE, _SIDE)
    colours = [COLOURS[side] for side in group.tokens.side]
    axes.scatter(*group.points[0].T, s=4, c=colours, linewidths=0)
    return page.figure


draw_heads = draw_head
