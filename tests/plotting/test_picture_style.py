"""The look that a user chooses: the size, resolution, colours, title and font of pictures."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from pictures import attention, faults, one_map, shown, statistics, weights_image, words
from PIL import Image

from attncli.data import Tokens
from attncli.data.labels import label
from attncli.errors import UsageError
from attncli.plotting import grid, heatmap, overview
from attncli.plotting.colours import COLOURS, DIVERGING, colour_map, line_colour, masked_colour
from attncli.plotting.picture_style import (
    PictureStyle,
    changed_style,
    current_style,
    picture_style,
    values_of_matplotlib_style,
)
from attncli.plotting.render import render

SIZES = [(3.25, 2.5), (6.0, 6.0), (12.0, 4.0)]


def in_style(draw: Any, *arguments: Any, **look: Any) -> Figure:
    with picture_style(PictureStyle.of(**look)):
        figure: Figure = draw(*arguments)
        return figure


def drawings() -> dict[str, Any]:
    causal = attention(9, causal=True)
    return {
        "heatmap": lambda: heatmap.draw(causal, model="demo"),
        "grid": lambda: grid.draw(attention(6, heads=[2, 3]), model="demo"),
        "overview": lambda: overview.draw(statistics([("encoder", 0, 0), ("encoder", 0, 1)], sink=[0.5, 0.1])),
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", drawings())
def test_a_picture_has_its_size_and_no_text_overlaps_or_is_cut(name: str, size: tuple[float, float]) -> None:
    figure = in_style(drawings()[name], figsize=size)
    np.testing.assert_allclose(figure.get_size_inches(), size)
    assert not faults(figure)


def test_the_size_is_that_of_the_file_in_every_format() -> None:
    with picture_style(PictureStyle.of(figsize=(5, 3), dpi=80)):
        files = {format: render(drawings()["heatmap"](), format) for format in ("png", "svg", "pdf")}
    with Image.open(BytesIO(files["png"])) as image:
        assert image.size == (400, 240)
    root = ElementTree.fromstring(files["svg"])
    assert (root.get("width"), root.get("height")) == ("360pt", "216pt")
    assert b"/MediaBox [ 0 0 360 216 ]" in files["pdf"]


def test_text_lines_and_marks_are_scaled_alike() -> None:
    """Half the size: texts, ticks and lines have half their points, and every text is at the same share of the page."""
    usual = drawings()["overview"]()
    half = in_style(drawings()["overview"], figsize=tuple(usual.get_size_inches() / 2))
    for one, other in zip(shown(usual), shown(half), strict=True):
        assert (one.get_text(), one.get_fontsize() / 2) == (other.get_text(), pytest.approx(other.get_fontsize()))
        first, second = (
            text.get_window_extent().extents / (*figure.bbox.size, *figure.bbox.size)
            for figure, text in ((usual, one), (half, other))
        )
        np.testing.assert_allclose(first, second, atol=0.03)
    widths = [{line.get_linewidth() for line in figure.findobj(Line2D)} for figure in (usual, half)]
    assert sorted(width / 2 for width in widths[0]) == pytest.approx(sorted(widths[1]))


def test_cells_of_maps_change_before_texts_do() -> None:
    maps = {"heatmap": lambda: heatmap.draw(attention(30)), "grid": drawings()["grid"], "few": drawings()["heatmap"]}
    for draw in maps.values():
        for size in ((3.3, 3.0), (12.0, 9.0)):
            points = [text.get_fontsize() for text in shown(in_style(draw, figsize=size))]
            assert 4.5 < min(points) <= max(points) < 12


def test_the_style_ends_with_its_block() -> None:
    with picture_style(PictureStyle.of(cmap="magma", title="A")):
        with changed_style({"title": "B"}):
            assert current_style() == PictureStyle(cmap="magma", title="B")
        assert current_style().title == "A"
    assert current_style() == PictureStyle()


@pytest.mark.parametrize(
    ("look", "said"),
    [
        ({"figsize": "0,1"}, "--figsize '0,1': expected width,height in inches, from 0.5 to 100, such as 6,4"),
        ({"figsize": "6"}, "expected width,height"),
        ({"figsize": "nan,4"}, "expected width,height"),
        ({"figsize": (6, 1e9)}, "expected width,height"),
        ({"dpi": 100_000}, "--dpi 100000: expected pixels per inch, from 10 to 2400"),
        ({"dpi": 0}, "expected pixels per inch"),
        ({"cmap": "virids"}, "unknown --cmap 'virids': did you mean 'viridis'"),
        ({"font": "DejaVu Sand"}, "unknown --font 'DejaVu Sand': did you mean 'DejaVu Sans'"),
        ({"colour": "red"}, "unknown option 'colour'"),
        ({"dpi": "300"}, "expected dpi to be a whole number or None"),
    ],
)
def test_wrong_values_are_refused(look: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PictureStyle.of(**look)


def test_a_picture_that_is_too_large_names_the_resolution_that_fits() -> None:
    figure = in_style(drawings()["heatmap"], figsize=(40, 40), dpi=2400)
    with pytest.raises(UsageError, match="96,000 x 96,000 pixels is too large: --dpi 500 is the most"):
        render(figure, "png")


def test_the_map_of_a_middle_changes_only_for_another_with_a_middle() -> None:
    assert (colour_map(COLOURS), colour_map(DIVERGING)) == ("viridis", "RdBu_r")
    for name, diverging in (("magma", "RdBu_r"), ("PuOr_r", "PuOr_r")):
        with picture_style(PictureStyle.of(cmap=name)):
            assert (colour_map(COLOURS), colour_map(DIVERGING)) == (name, diverging)


def test_the_map_of_the_user_colours_weights() -> None:
    figure = in_style(drawings()["heatmap"], cmap="cividis")
    assert weights_image(figure).get_cmap().name == "cividis"


@pytest.mark.parametrize("name", ["viridis", "Greys", "gray", "Blues", "YlOrRd", "magma_r", "RdBu_r", "coolwarm"])
def test_masked_keys_differ_from_every_weight(name: str) -> None:
    with picture_style(PictureStyle.of(cmap=name)):
        colours = matplotlib.colormaps[name](np.linspace(0, 1, 1000))[:, :3]
        assert np.linalg.norm(colours - to_rgb(masked_colour()), axis=1).min() > 0.1
        lowest = np.dot(colours[0], (0.3, 0.59, 0.11))
        assert (line_colour() == "black") == (lowest > 0.6)


def test_panels_have_a_frame_where_small_weights_are_as_light_as_the_page() -> None:
    def frames(**look: Any) -> int:
        figure = in_style(drawings()["grid"], **look)
        return sum(not patch.get_fill() for axes in figure.axes for patch in axes.patches if type(patch) is Rectangle)

    assert (frames(), frames(cmap="Blues")) == (0, 5)


def test_a_title_replaces_that_of_the_picture_or_leaves_it_out() -> None:
    usual, named, bare = (in_style(drawings()["heatmap"], title=title) for title in (None, "Fig. 1\n$x$ \u202e", ""))
    title = "encoder self-attention · layer 0 · head 0"
    assert title in words(usual)
    assert label("Fig. 1\n$x$ \u202e") in words(named)
    assert title not in words(named) | words(bare)
    assert usual.get_size_inches()[1] > bare.get_size_inches()[1]
    assert not faults(named) + faults(bare)


def test_a_font_is_used_for_every_text_and_in_the_file() -> None:
    with picture_style(PictureStyle.of(font="serif")):
        figure = drawings()["heatmap"]()
        svg = render(figure, "svg").decode()
    assert {text.get_fontfamily()[0] for text in shown(figure)} == {"DejaVu Serif"}
    assert set(re.findall(r"font-family: ([^;\"]*)", svg)) == {"'DejaVu Serif', Georgia, 'Times New Roman', serif"}


def test_texts_of_svg_are_texts_with_fonts_that_other_machines_have() -> None:
    figure = heatmap.draw(attention(Tokens.plain([*HOSTILE[:60], '<text style="font-family: x">'])))
    root = ElementTree.fromstring(render(figure, "svg"))
    texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
    written = {"".join(element.itertext()) for element in texts}
    assert {line for text in words(figure) for line in text.split("\n")} == written
    assert any("<text style" in text for text in written)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", "".join(written))
    for element in texts:
        assert "font-family: 'DejaVu Sans', Verdana, Arial, sans-serif" in element.get("style", "")


def test_letters_of_pdf_are_truetype() -> None:
    pdf = render(heatmap.draw(one_map([[1.0]])), "pdf")
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf


def test_a_style_of_matplotlib_gives_size_resolution_colours_and_font(tmp_path: Path) -> None:
    path = tmp_path / "paper.mplstyle"
    path.write_text(
        "figure.figsize: 3.5, 2.5\nsavefig.dpi: 300\nimage.cmap: magma\nfont.family: serif\n"
        "font.serif: No Such Font, DejaVu Serif\naxes.grid: True\n"
    )
    style = PictureStyle.of(**values_of_matplotlib_style(str(path)))
    assert style == PictureStyle((3.5, 2.5), 300, "magma", None, "DejaVu Serif")
    assert PictureStyle.of(**values_of_matplotlib_style("ggplot")).cmap is None
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="the file cannot be read"):
        values_of_matplotlib_style(str(path))
