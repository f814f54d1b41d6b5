"""How pictures look in Python: the arguments of everything that returns a figure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pictures import weights_image, words

import attncli

if TYPE_CHECKING:
    from attncli import Run


@pytest.fixture(scope="module")
def run() -> Run:
    return attncli.load("demo:encoder").run("The cat sat.", layer=[0, 1], head=[0, 1])


def test_every_figure_takes_the_arguments(run: Run, tmp_path: Path) -> None:
    look: Any = {"figsize": (5, 4), "dpi": 90, "title": "A title", "cmap": "magma", "font": "serif"}
    rollout, page = run.rollout(), run.highlight("cat")
    figures = [
        run.heatmap(1, 0, **look),
        run.heatmap(rows="cat", **look),
        rollout.figure(**look),
        rollout.matrix(**look),
        page.figure(**look),
    ]
    for figure in figures:
        np.testing.assert_allclose([*figure.get_size_inches(), figure.dpi], [5, 4, 90])
        assert "A title" in words(figure)
    assert weights_image(figures[0]).get_cmap().name == "magma"
    svg = page.save(tmp_path / "it.svg", **look).read_text(encoding="utf-8")
    assert set(re.findall(r"font-family: ([^;,]*)", svg)) == {"'DejaVu Serif'"}
    assert "A title" not in words(run.heatmap(1, 0))


def test_a_figure_that_matplotlib_saves_keeps_its_texts(run: Run, tmp_path: Path) -> None:
    run.heatmap(1, 0).savefig(tmp_path / "map.svg")
    assert ">sat</text>" in (tmp_path / "map.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("look", "said"),
    [
        ({"cmap": "virids"}, "unknown cmap 'virids': did you mean 'viridis'"),
        ({"figsize": 5}, "expected figsize to be several, each a number or a text or None, got 5"),
        ({"figsize": (5,)}, "figsize='5': expected width,height in inches"),
        ({"dpi": 1}, "dpi=1: expected pixels per inch"),
        ({"colour": "red"}, "unknown option 'colour': known are: cmap, dpi, figsize, font"),
    ],
)
def test_wrong_arguments_are_named_as_in_python(look: Any, said: str, run: Run) -> None:
    with pytest.raises(attncli.UsageError, match=re.escape(said)):
        run.heatmap(1, 0, **look)
