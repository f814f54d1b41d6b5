"""Transforms of maps in the page equal those of the library: words, no special tokens, no sinks, combined heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from opened import Made, Open, near
from page import Read

import attncli
from attncli.data import Attention, LayerMaps
from attncli.data.transforms import drop_special, to_words
from attncli.page import COMBINED

WORDY = "Unbelievably, the anthropologist mispronounced hippopotamuses."
TRANSFORMS: dict[str, Callable[[Attention], Attention]] = {
    "words=1": to_words,
    "special=drop": drop_special,
    "words=1&special=drop": lambda attention: drop_special(to_words(attention)),
}


@pytest.fixture(scope="module")
def wordy(minilm: object) -> Made:
    run = attncli.load(str(minilm)).run(WORDY)
    return Made(run, run.view().html)


@pytest.fixture(scope="module")
def rounded(wordy: Made) -> Attention:
    """The maps in the page, which are rounded."""
    read = Read(wordy.html)
    (maps,) = read.document["maps"]
    layers = [LayerMaps(layer["layer"], tuple(layer["heads"]), read.weights(maps, layer)) for layer in maps["layers"]]
    return replace(wordy.run.attention("encoder"), layers=tuple(layers))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_equals_that_of_the_library(
    transform: str, wordy: Made, rounded: Attention, open_page: Open
) -> None:
    true = TRANSFORMS[transform](rounded).sel(layer=2, head=4).values
    exact = TRANSFORMS[transform](wordy.run.attention("encoder")).sel(layer=2, head=4).values
    assert np.abs(true - exact).max() < 0.02
    opened = open_page(wordy.html)
    for query in range(len(true)):
        page = opened.go(f"view=head&layer=2&head=4&query={query}&{transform}")
        assert page.locator(".tokens.query .token").count() == len(true)
        assert opened.weights() == pytest.approx(true[query].tolist(), abs=6e-4)


def test_heads_are_combined_as_the_library_combines_them(wordy: Made, open_page: Open) -> None:
    layer = wordy.run.attention("encoder").sel(layer=2)
    opened = open_page(wordy.html)
    for combine, true in (("mean", layer.values.mean(0)), ("max", layer.values.max(0))):
        opened.go(f"view=head&layer=2&head={combine}&query=3")
        assert near(opened.weights(), true[3], layer.values.max())


def test_without_sinks_the_other_keys_share_the_row(wordy: Made, open_page: Open) -> None:
    true = wordy.run.attention("encoder").sel(layer=3, head=5).values.astype(np.float64)
    sinks = true.mean(0) >= 0.3
    assert sinks.sum() == 1
    true[:, sinks] = 0
    true /= true.sum(1, keepdims=True)
    true[:, sinks] = np.nan
    opened = open_page(wordy.html)
    opened.go("view=head&layer=3&head=5&query=4&sinks=drop")
    shown = np.array(opened.weights())
    assert np.array_equal(np.isnan(shown), sinks)
    assert np.nanmax(np.abs(shown - true[4])) < 0.02


def test_transforms_of_the_run_cannot_be_changed_in_the_page(minilm: object, open_page: Open) -> None:
    run = attncli.load(str(minilm)).run(WORDY, words=True, special="drop")
    page = open_page(run.view().html).go("words=1&special=drop&query=1")
    assert page.locator("[data-switch=words]").is_disabled()
    assert page.locator("[data-switch=special]").is_disabled()
    assert page.locator(".tokens.query .token").all_inner_texts()[0] == "Unbelievably"


def test_a_run_that_is_too_large_shows_its_strongest_weights_with_a_note(open_page: Open) -> None:
    text = " ".join(f"word {number} stands here" for number in range(60))
    run = attncli.load("demo:decoder").run(text)
    true = run.attention("decoder").sel(layer=1, head=1).values
    page_ = run.view(max_page="600KB")
    opened = open_page(page_.html)
    page = opened.go("view=head&layer=1&head=1&query=200")
    shown = np.array(opened.weights())
    kept = np.flatnonzero(~np.isnan(shown))
    assert 4 <= len(kept) <= 64
    strongest = np.sort(true[200])[::-1][: len(kept)]
    assert near(np.sort(shown[kept])[::-1], strongest, true[200].max())
    assert page.locator("[data-switch=words]").is_disabled()
    assert "strongest weights" in page.locator("footer").inner_text()
    opened.go("view=head&layer=1&head=1&key=0&direction=to")
    known = np.array(opened.weights("query"))
    in_page = ~np.isnan(known)
    assert in_page.sum() > 5
    assert near(known[in_page], true[in_page, 0], 1)
    (found,) = Read(page_.html).document["maps"]
    resolution = -(-len(true) // found["cell"][0])
    for how in COMBINED:
        # combined before pooling, as on every other path
        pooled = attncli.load("demo:decoder").run(text, layer=1, aggregate=how, resolution=resolution).attention()
        cells = np.full(pooled.values.shape, np.nan)
        for row in opened.csv(f"view=matrix&layer=1&head={how}"):
            cells[int(row["query"]) // pooled.cell[0], int(row["key"]) // pooled.cell[1]] = float(row["weight"])
        (maps,) = pooled.layers
        assert maps.visible is not None
        assert np.array_equal(np.isnan(cells), ~maps.visible[0])
        assert near(cells, pooled.values, pooled.values.max())
        opened.go(f"view=head&layer=1&head={how}&query=200")
        row_of_all = run.attention("decoder").combined_heads(how).sel(layer=1).values[200]
        shown = np.array(opened.weights())
        known = ~np.isnan(shown)
        assert 4 <= known.sum() <= 64
        assert near(shown, row_of_all, row_of_all.max())
        assert shown[known].min() >= np.sort(row_of_all)[::-1][known.sum() - 1] - row_of_all.max() / 255 - 6e-4
    for view in ("model", "text"):
        opened.go(f"view={view}&layer=1&head=mean&query=200&key=3")


def test_one_token_alone_is_shown(open_page: Open) -> None:
    run = attncli.load("demo:decoder").run("the", special="drop")
    assert len(run.attention().queries) == 1
    opened = open_page(run.view().html)
    for view in ("head", "model", "matrix", "text", "numbers"):
        opened.go(f"view={view}&query=0")
    opened.go("view=head&query=0")
    assert opened.weights() == [1.0]


def test_several_texts_are_chosen_from(open_page: Open) -> None:
    model = attncli.load("demo:encoder")
    run = model.run(["The first text.", "Another one, longer than the first."])
    opened = open_page(run.view().html)
    page = opened.go("query=2")
    count = page.locator(".tokens.query .token").count()
    page.get_by_label("text").select_option("1")
    assert page.locator(".tokens.query .token").count() > count
    assert opened.state() == {"view": "head", "text": "1"}
