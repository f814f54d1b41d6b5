"""Tokens that broke real tools are drawn in every view and format without a crash or a warning."""

from __future__ import annotations

from io import BytesIO
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.figure import Figure
from pictures import attention, faults, shown, statistics, words
from PIL import Image

from attncli.data import Scheme, Tokens
from attncli.data.labels import label, labels
from attncli.plotting import grid, heatmap, overview
from attncli.plotting.render import FORMATS, render

PARTS = [HOSTILE[n : n + 26] for n in range(0, len(HOSTILE), 26)]
NAME = "$\\foo$ [/INST]\n</script> \u202e 注"


def side(pieces: list[str], scheme: Scheme = "plain") -> Tokens:
    n = len(pieces)
    at = np.arange(n)
    return Tokens(tuple(pieces), at, at < 0, np.zeros((n, 2)), at, ("",) * n, scheme=scheme)


def check_picture(data: bytes, format: str) -> None:
    if format == "png":
        with Image.open(BytesIO(data)) as image:
            image.verify()
    elif format == "svg":
        ElementTree.fromstring(data)
    else:
        assert data.rstrip().endswith(b"%%EOF")


SCHEMES: tuple[Scheme, ...] = ("plain", "bytelevel", "metaspace")


@pytest.mark.parametrize(("scheme", "format"), [*zip(SCHEMES, FORMATS, strict=True)])
def test_all_at_once_in_every_view_and_format(scheme: Scheme, format: str) -> None:
    tokens = side(HOSTILE, scheme)
    figures: dict[str, Figure] = {
        "heatmap": heatmap.draw(attention(tokens), model=NAME, note=NAME),
        "grid": grid.draw(attention(side(HOSTILE[:12], scheme), heads=[2, 2]), model=NAME, note=NAME),
        "overview": overview.draw(statistics([("encoder", 0, 0)], sink=[0.5]), model=NAME, note=NAME),
    }
    for figure in figures.values():
        check_picture(render(figure, format, description=f"{NAME} 🤗"), format)


@pytest.mark.parametrize("pieces", PARTS, ids=lambda part: repr(part[0]))
def test_each_label_is_in_the_picture_as_text_and_none_overlap(pieces: list[str]) -> None:
    tokens = side(pieces)
    figure = heatmap.draw(attention(tokens))
    seen = words(figure) | {label(piece) for piece in ("", " ")}
    # a cut label is shown in full, or cut later, where the picture has room
    missing = {name for name in set(labels(tokens)) - {"·", "··"} - seen if not name.endswith("…")}
    assert not missing
    assert all(any(word.startswith(name[:-1]) for word in seen) for name in labels(tokens) if name.endswith("…"))
    with matplotlib.rc_context({"text.parse_math": True}):
        assert not faults(figure)


def test_nothing_is_read_as_mathematics() -> None:
    figure = heatmap.draw(attention(side(["$a$", "$\\foo$"])), model="$a$")
    dollars = [text for text in shown(figure) if "$" in text.get_text()]
    assert len(dollars) == 5
    assert not any(text.get_parse_math() or text.get_usetex() for text in dollars)
