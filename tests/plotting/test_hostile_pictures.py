"""Tokens that broke real tools go through every view and every format without a crash or a warning."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from attncli.plotting.save import FORMATS, save
from hostile import HOSTILE
from matplotlib.figure import Figure
from pictures import attention, faults, shown, statistics, words
from PIL import Image

from attncli.data import Scheme, Tokens
from attncli.data.labels import label, labels
from attncli.plotting import grid, heatmap, overview

PARTS = [HOSTILE[n : n + 26] for n in range(0, len(HOSTILE), 26)]
NAME = "$\\foo$ [/INST]\n</script> \u202e 注"


def side(pieces: list[str], scheme: Scheme = "plain") -> Tokens:
    n = len(pieces)
    at = np.arange(n)
    return Tokens(tuple(pieces), at, at < 0, np.zeros((n, 2)), at, ("",) * n, scheme=scheme)


def check_file(path: Path) -> None:
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.verify()
    elif path.suffix == ".svg":
        ElementTree.parse(path)
    else:
        assert path.read_bytes().rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("scheme", ["plain", "bytelevel", "metaspace"])
def test_all_at_once_in_every_view_and_format(scheme: Scheme, format: str, tmp_path: Path) -> None:
    tokens = side(HOSTILE, scheme)
    figures: dict[str, Figure] = {
        "heatmap": heatmap.draw(attention(tokens), model=NAME, note=NAME),
        "grid": grid.draw(attention(side(HOSTILE[:12], scheme), heads=[2, 2]), model=NAME, note=NAME),
        "overview": overview.draw(statistics([("encoder", 0, 0)], sink=[0.5]), model=NAME, note=NAME),
    }
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.{format}", description=f"{NAME} 🤗")
        check_file(tmp_path / f"{name}.{format}")


@pytest.mark.parametrize("pieces", PARTS, ids=lambda part: repr(part[0]))
def test_each_label_stands_in_the_picture_as_text_and_none_overlaps(pieces: list[str]) -> None:
    tokens = side(pieces)
    figure = heatmap.draw(attention(tokens))
    assert set(labels(tokens)) - {"·", "··"} <= words(figure) | {label(piece) for piece in ("", " ")}
    with matplotlib.rc_context({"text.parse_math": True}):
        assert not faults(figure)


def test_nothing_is_read_as_mathematics() -> None:
    figure = heatmap.draw(attention(side(["$a$", "$\\foo$"])), model="$a$")
    said = [text for text in shown(figure) if "$" in text.get_text()]
    assert len(said) == 5
    assert not any(text.get_parse_math() or text.get_usetex() for text in said)
