"""Pictures of attention between segments: the mean next to uniform attention, every head, generated tokens."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hostile import HOSTILE
from pictures import faults, tokens, words

from attncli.data import Array, Scores
from attncli.errors import UsageError
from attncli.plotting.render import render
from attncli.studies.segments import figures as segments
from attncli.studies.segments.result import Segments


def made(names: list[str], layers: int = 2, heads: int = 2, generated: int = 0, causal: bool = False) -> Segments:
    rng = np.random.default_rng(0)
    n = len(names)
    rows = list(product(range(layers), range(heads), names, names))
    mass = rng.dirichlet(np.ones(n), layers * heads * n).ravel()
    seen = np.tile(np.tri(n).ravel() if causal else np.ones(n * n), layers * heads) > 0
    mass = np.where(seen, mass, 0)
    uniform = np.where(seen, 1 / n, 0)
    columns = {
        "kind": np.array(["encoder"] * len(rows), dtype=object),
        "layer": np.array([row[0] for row in rows]),
        "head": np.array([row[1] for row in rows]),
        "from": np.array([row[2] for row in rows] + [None], dtype=object)[:-1],
        "to": np.array([row[3] for row in rows] + [None], dtype=object)[:-1],
        "texts": np.ones(len(rows), int),
    }
    with np.errstate(invalid="ignore"):
        ratio = np.where(seen, mass / np.where(seen, uniform, 1), np.nan)
    values = {"mass": mass, "uniform_mass": uniform, "positional_mass": uniform, "ratio": ratio}
    values["excess"] = mass - uniform
    return Segments(scores(values, columns), tokens=shares(names, generated) if generated else {})


def shares(names: list[str], generated: int) -> dict[str, Scores]:
    cells = [(at, name) for at in range(generated) for name in names]
    columns = {
        "text": np.zeros(len(cells), int),
        "kind": np.array(["encoder"] * len(cells), dtype=object),
        "layer": np.zeros(len(cells), int),
        "query": np.array([at for at, _ in cells]),
        "token": np.array([str(at) for at, _ in cells], dtype=object),
        "to": np.array([name for _, name in cells] + [None], dtype=object)[:-1],
    }
    mass = np.random.default_rng(1).dirichlet(np.ones(len(names)), generated).ravel()
    return scores({"mass": mass, "uniform_mass": np.full(len(cells), 1 / len(names))}, columns)


def scores(values: dict[str, Array], columns: dict[str, Array]) -> dict[str, Scores]:
    coords = {name: ("row", column) for name, column in columns.items()}
    return {name: Scores(name, each, ("row",), coords, "1", (0.0, 1.0), "made up") for name, each in values.items()}


def test_the_share_and_its_ratio_are_side_by_side() -> None:
    found = made(["a", "b"], causal=True)
    figure = segments.draw(found, "encoder", model="m", note="n")
    share, ratio = (np.ma.asarray(axes.images[-1].get_array()) for axes in figure.axes if axes.get_title("left"))
    mean = found["mass"].values.reshape(4, 2, 2).mean(0)
    np.testing.assert_allclose(share.filled(-1), np.where(np.tri(2) > 0, mean, -1), rtol=1e-6)
    np.testing.assert_allclose(ratio[1], np.log2(mean[1] * 2), rtol=1e-5)
    with_rows = segments.draw(replace(found, rows_as={("encoder", "a"): "predicted"}), "encoder")
    assert "mean over layers and heads · rows of a as predicted" in words(with_rows)
    assert {"share of the attention", "relative to uniform attention", "from", "to", "m"} <= words(figure)
    assert "masked key" in words(figure)


@pytest.mark.parametrize("count", [2, 16, 40, pytest.param(100, marks=pytest.mark.real)])
def test_pictures_of_any_number_of_segments_are_complete(count: int) -> None:
    names = [f"paragraph {at}" for at in range(count)]
    assert not faults(segments.draw(made(names, 1, 2), "encoder", model="m"))
    page = segments.draw_heads(made(names, 2, 2), "encoder", 16)
    assert (page is None) == (count > 16)
    assert page is None or not faults(page)


def test_a_single_head_needs_no_page() -> None:
    assert segments.draw_heads(made(["a", "b"], 1, 1), "encoder", 16) is None


def test_heads_have_their_own_numbers() -> None:
    found = made(["a", "b", "c"], layers=1, heads=2)
    page = segments.draw_heads(found, "encoder", 16)
    assert page is not None
    image = np.ma.asarray(page.axes[0].images[-1].get_array())
    np.testing.assert_allclose(image[:3, :3], found["mass"].values.reshape(2, 3, 3)[0], rtol=1e-5)
    assert {"head 0", "head 1", "mean of heads", "a", "b", "c"} <= words(page)


@pytest.mark.parametrize(("generated", "count"), [(1, 2), (60, 12), pytest.param(200, 3, marks=pytest.mark.real)])
def test_generated_tokens_are_bars_that_sum_to_one(generated: int, count: int) -> None:
    names = [f"¶{at}" for at in range(count)] + ["special"]
    figure = segments.draw_tokens(made(names, generated=generated), "encoder", 0, tokens(generated), model="m")
    assert not faults(figure)
    share = next(axes for axes in figure.axes if axes.get_title("left") == "share of the attention")
    heights = np.array([bar.get_height() for bar in share.patches]).reshape(len(names), generated)
    np.testing.assert_allclose(heights.sum(0), 1)
    assert set(names) <= words(figure)


def test_the_strongest_heads_are_bars_from_the_top() -> None:
    found = made(["a", "b", "generated"], causal=True)
    scores = dict(found.heads)
    scores["retrieval"] = replace(scores["mass"], values=np.linspace(0, 1, len(scores["mass"].values)))
    found = replace(found, heads=scores, rows_as={("encoder", "generated"): "predicted", ("encoder", "a"): "input"})
    figure = segments.draw_strongest(found, "encoder", model="m", note="n")
    assert figure is not None
    assert not faults(figure)
    strongest = found.strongest("encoder")
    assert set(strongest["from"]) == {"generated"}
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(strongest["mass"].tolist())
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        f"{layer}.{head}  {to}"
        for layer, head, to in zip(*(strongest[name].tolist() for name in ("layer", "head", "to")), strict=True)
    ]
    uniform, position = (line.get_xdata() for line in figure.axes[0].lines)
    assert list(uniform) == list(position) == strongest["uniform_mass"].tolist()
    assert {f"{score:.3f}" for score in strongest["retrieval"]} | {"retrieval score"} <= words(figure)
    assert any("from generated (rows as predicted)" in word for word in words(figure))
    assert segments.draw_strongest(replace(found, heads={**scores, "excess": scores["uniform_mass"]}), "cross") is None


def test_hostile_names() -> None:
    draws = (
        lambda found: segments.draw(found, "encoder"),
        lambda found: segments.draw_heads(found, "encoder", 16),
        lambda found: segments.draw_strongest(found, "encoder"),
        lambda found: segments.draw_tokens(found, "encoder", 0, tokens(3)),
    )
    for part, start in enumerate(range(0, len(HOSTILE), 14)):  # each picture has other names
        names = list(dict.fromkeys(HOSTILE[start : start + 14]))
        assert render(draws[part % len(draws)](made(names, layers=1, generated=3)), "svg")


def test_missing_segments_and_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing to draw: no segments of kind 'decoder'"):
        segments.draw(made(["a"]), "decoder")
    with pytest.raises(UsageError, match="no token of text 0, encoder, was generated by the model"):
        segments.draw_tokens(made(["a"]), "encoder", 0, tokens(1))
