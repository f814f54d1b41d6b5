"""The page of head classes: what is drawn for each head and layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from pictures import faults, shown, words

from attncli.data import Kind, Scores
from attncli.errors import UsageError
from attncli.studies.patterns import figures as view
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import BASELINES, CLASSES, NUMBERS, Patterns


def made(
    verdicts: Sequence[tuple[str, ...]], heads: int = 4, kind: Kind = "encoder", offset: float = -1.0, **more: Any
) -> Patterns:
    """Heads of these classes, layer by layer."""
    count = len(verdicts)
    coords = {
        "kind": ("head", np.array([kind] * count, dtype=object)),
        "layer": ("head", np.arange(count) // heads),
        "head": ("head", np.arange(count) % heads),
        "texts": ("head", np.ones(count, int)),
        "queries": ("head", np.full(count, 9)),
    }

    def scores(name: str) -> Scores:
        value = offset if name == "diagonal_offset" else 0.4
        return Scores(name, np.full(count, value), ("head",), coords, "1", (0.0, 1.0), "made up")

    table = {name: scores(name) for name in NUMBERS}
    layers = -(-count // heads)
    of_layers = {
        "kind": ("layer", np.array([kind] * layers, dtype=object)),
        "layer": ("layer", np.arange(layers)),
        "heads": ("layer", np.full(layers, heads)),
    }
    by_layer = {
        name: Scores(name, np.linspace(0.1, 0.5, layers), ("layer",), of_layers, "√nat", (0.0, 0.83), "made up")
        for name in ("differentiation", "differentiation_positional", "differentiation_shuffled")
    }
    clear = tuple({name: 1 - 0.1 * at for at, name in enumerate(classes)} for classes in verdicts)
    baselines = dict.fromkeys(BASELINES, table)
    return Patterns(table, clear, baselines, by_layer, {}, Thresholds(), **more)


def cells(figure: Figure) -> list[str]:
    """The colours of the cells in the order of drawing."""
    return [to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_each_head_has_the_colour_and_the_letters_of_its_classes() -> None:
    figure = view.draw(made([("vertical",), ("diagonal",), ("local", "block"), ("sparse",), ("uniform",), ("mixed",)]))
    names = ["vertical", "diagonal", "local", "sparse", "uniform", "mixed"]
    assert cells(figure) == [view.COLOURS[name].lower() for name in names]
    letters = [text.get_text() for text in figure.axes[0].texts]
    assert letters == ["V", "D-1", "LB", "S", "U", "M"]
    (corner,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Polygon)]
    assert to_hex(corner.get_facecolor()) == view.COLOURS["block"].lower()
    assert not faults(figure)


def test_a_head_without_numbers_is_hatched_with_a_legend() -> None:
    patterns = made([("vertical",), (), (), ("local",)])
    assert "undefined" not in words(view.draw(patterns))
    table = {}
    for name, scores in patterns.heads.items():
        values = np.array(scores.values)
        values[1] = np.nan
        table[name] = replace(scores, values=values)
    figure = view.draw(replace(patterns, heads=table))
    hatched = [bool(patch.get_hatch()) for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert hatched == [False, True, False, False]
    assert "undefined" in words(figure)
    assert not faults(figure)


def test_the_key_names_all_classes_and_counts_their_heads() -> None:
    figure = view.draw(made([("vertical",), ("vertical", "local"), (), ("mixed",)]))
    key = [text.get_text() for text in figure.axes[2].texts]
    counted = {name: key[key.index(name) + 1] for name in CLASSES}
    assert counted == {**dict.fromkeys(CLASSES, "0"), "vertical": "2", "local": "1", "mixed": "1"}
    assert {"position alone", "tokens shuffled"} <= set(key)
    assert cells(figure)[2] == view.NONE


def test_colours_differ_in_more_than_hue() -> None:
    assert len(set(view.COLOURS.values())) == len(CLASSES) == len({name[0] for name in CLASSES})


def test_bars_are_the_differences_of_each_layer() -> None:
    figure = view.draw(made([("mixed",)] * 12))
    bars = [patch for patch in figure.axes[1].patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == pytest.approx([0.1, 0.3, 0.5])
    marks = [line.get_xdata() for line in figure.axes[1].lines]
    assert np.asarray(marks) == pytest.approx(np.array([[0.1, 0.3, 0.5]] * 2))


def test_kinds_are_below_each_other() -> None:
    one, other = made([("mixed",)] * 4), made([("diagonal",)] * 4, kind="cross", offset=0.0)

    def concatenated(a: Scores, b: Scores) -> Scores:
        coords = {name: (dim, np.concatenate([column, b.coords[name][1]])) for name, (dim, column) in a.coords.items()}
        return replace(a, values=np.concatenate([a.values, b.values]), coords=coords)

    heads = {name: concatenated(scores, other.heads[name]) for name, scores in one.heads.items()}
    layers = {name: concatenated(scores, other.layers[name]) for name, scores in one.layers.items()}
    both = Patterns(heads, (*one.verdicts, *other.verdicts), {}, layers, {}, Thresholds())
    figure = view.draw(both, model="a model")
    assert {"encoder self-attention", "cross-attention", "D0", "M", "a model"} <= words(figure)
    assert not faults(figure)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), pytest.param(48, 12, marks=pytest.mark.real), (2, 128)])
def test_models_of_any_size_fit(layers: int, heads: int) -> None:
    figure = view.draw(made([("vertical",)] * (layers * heads), heads))
    assert not faults(figure)
    assert max(figure.bbox.width, figure.bbox.height) < 2600
    assert len(cells(figure)) == layers * heads


def test_hostile_names_are_written_as_they_are() -> None:
    figure = view.draw(made([("mixed",)]), model="$\\foo$ [/INST]", note="$a$")
    assert {"$\\foo$ [/INST]", "$a$"} <= words(figure)
    assert not any(text.get_parse_math() for text in shown(figure) if "$" in text.get_text())


def test_without_heads_there_is_nothing_to_draw() -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        view.draw(made([]))
