"""Every view of every kind of model shows the numbers of the run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from opened import SVG, VIEWS, Made, Open, near
from page import Read

import attncli
from attncli.data import Attention, Kind

MODELS = ("minilm", "encoder", "decoder", "seq2seq")
KINDS: dict[str, tuple[Kind, ...]] = {
    "minilm": ("encoder",),
    "encoder": ("encoder",),
    "decoder": ("decoder",),
    "seq2seq": ("encoder", "decoder", "cross"),
}
STEPS = ("score", "normalizer", "weight")
CASES = [(model, kind) for model in MODELS for kind in KINDS[model]]


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_every_view_draws(model: str, kind: Kind, made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made(model).html)
    for view in VIEWS:
        page = opened.go(f"view={view}&kind={kind}")
        assert page.locator("body").get_attribute("data-drawn") == view
        assert page.locator("main").inner_text().strip() or page.locator("main canvas").count()
        assert page.locator(f"#tab-{view}").get_attribute("aria-selected") == "true"


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_head_view_shows_the_weights_of_a_row(
    model: str, kind: Kind, made: Callable[[str], Made], open_page: Open
) -> None:
    one = made(model)
    true = one.run.attention(kind).sel(layer=1, head=2)
    query = len(true.queries) // 2
    opened = open_page(one.html)
    opened.go(f"view=head&kind={kind}&layer=1&head=2&query={query}")
    row = np.where(_visible(true)[query], true.values[query], np.nan)
    assert np.array_equal(np.isnan(opened.weights()), np.isnan(row))
    assert near(opened.weights(), row, np.nanmax(row))


def test_undefined_rows_and_masked_keys_have_a_look_and_a_legend(made: Callable[[str], Made], open_page: Open) -> None:
    run = made("decoder").run
    maps = run.attention()
    weights = [np.array(layer.weights) for layer in maps.layers]
    for of_layer in weights:
        of_layer[:, 3] = np.nan
    layers = [replace(layer, weights=changed) for layer, changed in zip(maps.layers, weights, strict=True)]
    run = replace(run, maps=(replace(maps, layers=tuple(layers)),), vectors=(), statistics=None)
    opened = open_page(run.view().html)
    for view in ("matrix", "model"):
        picture = opened.svg(f"view={view}&layer=1&head=mean")
        assert {"masked key", "undefined"} <= {text.text for text in picture.iter(f"{SVG}text")}
        hatch = {line.get("y1") for line in picture.iter(f"{SVG}line")}
        assert len(hatch) > 2
    page = opened.go("view=matrix&layer=1&head=2&query=3&key=1")
    assert "undefined, this query has no weights" in page.locator(".status").inner_text()
    page = opened.go("view=head&layer=1&head=2")
    assert page.locator(".token.undefined").evaluate_all("all => all.map(one => one.dataset.at)") == ["3"]
    page = opened.go("view=text&layer=1&head=2&direction=to&key=1")
    assert page.locator(".piece.undefined").evaluate_all("all => all.map(one => one.dataset.at)") == ["3"]
    assert page.locator(".absent").inner_text() == "undefined"
    # as if no row of the others had a weight
    page = opened.go("view=text&layer=1&head=2&query=3")
    assert page.locator(".piece.undefined").count() == len(maps.keys)


def test_an_undefined_measure_is_hatched(made: Callable[[str], Made], open_page: Open) -> None:
    document = Read(made("encoder").html)
    row = document.document["stats"]["heads"][0]
    html = made("encoder").html.replace(f'"entropy":{json.dumps(row["entropy"])}', '"entropy":null', 1)
    page = open_page(html).go("view=numbers&metric=entropy")
    assert page.locator(".cell.undefined").count() == 1
    assert page.locator(".absent").inner_text() == "undefined"
    page = open_page(made("encoder").html).go("view=numbers&metric=entropy")
    assert page.locator(".cell.undefined, .absent").count() == 0


def _visible(attention: object) -> np.ndarray:
    (maps,) = attention.layers  # type: ignore[attr-defined]
    return np.ones(maps.weights.shape[1:], bool) if maps.visible is None else maps.visible[0]


def test_it_attends_to_the_animal(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html)
    page = opened.go("view=head&layer=3&head=1&query=10")
    assert opened.weights()[2] == pytest.approx(0.677, abs=0.002)
    assert page.locator(".status").inner_text().startswith("it attends to animal 0.67")
    page.locator(".tokens.key .token").nth(2).hover()
    page.locator(".status", has_text=re.compile("^animal receives attention from")).wait_for()
    assert opened.weights("query")[10] == pytest.approx(0.677, abs=0.002)


def test_pinned_tokens_are_summed(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    true = one.run.attention("encoder").sel(layer=3, head=1).values
    opened = open_page(one.html)
    page = opened.go("view=head&layer=3&head=1")
    for at in (10, 7):
        page.locator(".tokens.query .token").nth(at).click()
    page.mouse.move(600, 790)
    opened.settle()
    assert opened.state()["pinned"] == "7,10"
    assert near(opened.weights(), true[7] + true[10], true[7].max() + true[10].max())


def test_lines_are_drawn_for_the_chosen_heads(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html)
    page = opened.go("view=head&layer=3&head=1&query=10")
    data = "c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
    inked = f"c => {data}.filter((value, at) => at % 4 === 3 && value > 0).length"
    opened.settle()
    one = page.locator(".head-view canvas").evaluate(inked)
    page.get_by_role("button", name="all heads").click()
    assert len(opened.state()["heads"].split(",")) == 12
    opened.settle()
    assert page.locator(".head-view canvas").evaluate(inked) > 1.1 * one > 0


@pytest.mark.parametrize("kind", KINDS["seq2seq"])
def test_matrix_shows_the_weight_under_the_pointer(kind: Kind, made: Callable[[str], Made], open_page: Open) -> None:
    one = made("seq2seq")
    true = one.run.attention(kind).sel(layer=1, head=3)
    opened = open_page(one.html)
    rows, columns = true.values.shape
    row, column = rows - 1, columns // 2
    page = opened.go(f"view=matrix&kind={kind}&layer=1&head=3")
    canvas = page.locator(".matrix-view canvas")
    margin, size = (float(canvas.get_attribute(f"data-{name}") or 0) for name in ("margin", "size"))
    at = {"x": margin + (column + 0.5) * size / columns, "y": margin + (row + 0.5) * size / rows}
    canvas.hover(position=at)
    page.locator(".status", has_text=f"({row}) → ").wait_for()
    status = page.locator(".status").inner_text()
    assert f"({column}): " in status
    assert near(float(status.rsplit(": ", 1)[1]), true.values[row, column], true.values[row].max())


def test_zoom_shows_a_part_with_the_right_weights(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    opened = open_page(one.html)
    page = opened.go("view=matrix&layer=3&head=1&query=10&key=2")
    assert page.locator(".status").inner_text().endswith("animal (2): 0.677")
    canvas = page.locator(".matrix-view canvas")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.settle()
    before, whole = page.locator(".status").inner_text(), canvas.evaluate("canvas => canvas.toDataURL()")
    for _ in range(6):
        page.mouse.wheel(0, -200)
    opened.settle()
    assert canvas.evaluate("canvas => canvas.toDataURL()") != whole
    # the cell under the pointer stays under it
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2)
    opened.settle()
    assert page.locator(".status").inner_text() == before


def test_model_view_opens_a_head(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html)
    page = opened.go("view=model")
    assert page.locator(".thumb").count() == 72
    page.locator(".thumb[data-layer='3'][data-head='1']").click()
    assert opened.state() == {"view": "matrix", "layer": "3", "head": "1"}


def test_text_view_shades_the_text_itself(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html)
    page = opened.go("view=text&layer=3&head=1&query=10")
    assert "The animal didn't cross the street because it was too tired." in page.locator(".text").inner_text()
    darkest = page.locator(".piece").evaluate_all(
        "nodes => nodes.map(n => [Number(n.style.getPropertyValue('--share')), n.title]).sort((a, b) => b[0] - a[0])[0]"
    )
    assert darkest[0] == 1
    assert darkest[1].startswith("animal: 0.67")
    assert page.locator("[data-top]").inner_text().startswith("0.67")


def test_text_view_of_a_translation_shows_both_texts(made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("seq2seq").html).go("view=text&kind=cross&layer=1&head=0&query=1")
    assert page.locator(".text").count() == 2


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_neuron_view_goes_from_vectors_to_the_weight(
    model: str, kind: Kind, made: Callable[[str], Made], open_page: Open
) -> None:
    one = made(model)
    true = one.run.attention(kind).sel(layer=1, head=1).values
    opened = open_page(one.html)
    query, key = len(true) - 1, int(true[-1].argmax())
    page = opened.go(f"view=neuron&kind={kind}&layer=1&head=1&query={query}")
    steps = {
        name: float(page.locator(f"[data-step={name}]").inner_text()) for name in ("score", "normalizer", "weight")
    }
    # vectors have 16 bits, so that this is closer than the map itself
    assert steps["weight"] == pytest.approx(true[query, key], abs=2e-3)
    assert math.exp(steps["score"] - steps["normalizer"]) == pytest.approx(steps["weight"], rel=1e-3)
    shown = [float(text) for text in page.locator(".score .weight").all_inner_texts()]
    row = true[query][~np.isnan(true[query])]
    assert shown == pytest.approx(row[: len(shown)].tolist(), abs=3e-3)
    page.locator(".score").first.click()
    assert opened.state()["key"] == "0"


def test_without_vectors_the_command_that_adds_them_is_shown(open_page: Open) -> None:
    page = open_page(attncli.load("demo:encoder").run("The cat.").view().html).go("view=neuron")
    assert page.locator("[aria-disabled=true]").count() == 1
    assert "neurons=True" in page.locator("main code").inner_text()


def rollout(attention: Attention, residual: bool) -> np.ndarray:
    """[query, key] by the formula, over whole matrices."""
    total = np.eye(len(attention.queries))
    for maps in attention.layers:
        passed = np.nan_to_num(maps.weights.astype(np.float64).mean(0)) + (np.eye(len(total)) if residual else 0)
        total = passed / passed.sum(1, keepdims=True) @ total
    return total


@pytest.mark.parametrize("model", ["minilm", "decoder"])
@pytest.mark.parametrize("residual", [True, False])
def test_flow_is_rollout(model: str, residual: bool, made: Callable[[str], Made], open_page: Open) -> None:
    one = made(model)
    true = rollout(one.run.attention(), residual)
    opened = open_page(one.html)
    query = len(true) - 2
    opened.go(f"view=flow&query={query}&residual={int(residual)}")
    assert opened.weights("input") == pytest.approx(true[query].tolist(), abs=4e-3)


def test_flow_of_cross_attention_says_why_not(made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("seq2seq").html).go("view=flow&kind=cross")
    assert "self-attention" in page.locator(".status").inner_text()


def test_numbers_are_those_of_stats(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    frame = one.run.stats().to_frame()
    opened = open_page(one.html)
    page = opened.go("view=numbers&metric=distance")
    shown = page.locator(".cell").evaluate_all("cells => cells.map(c => Number(c.title.split(': ')[1]))")
    assert shown == pytest.approx(frame["distance"].tolist())
    page.get_by_role("button", name="distance", exact=True).click()
    first = page.locator("tbody tr").first
    best = frame.loc[frame["distance"].idxmax()]
    assert (first.get_attribute("data-layer"), first.get_attribute("data-head")) == (
        str(best["layer"]),
        str(best["head"]),
    )
    first.get_by_role("button").click()
    assert opened.state()["view"] == "head"
    assert page.locator("select[name=layer]").input_value() == str(best["layer"])


def test_the_document_in_the_page_is_the_run(made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("minilm").html).go()
    document = json.loads(page.locator("#page").text_content() or "")
    assert document["sides"][0]["surface"][1:4] == ["The", "animal", "didn"]
