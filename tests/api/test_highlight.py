"""The numbers of a highlight are those of the maps, whichever way they come; and what Python shows of them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from highlights import Read

import attncli
from attncli.data.focus import find_focus
from attncli.data.tokens import Direction
from attncli.engine.focus import FocusRequest
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.studies.highlight.compute import highlights
from attncli.studies.highlight.result import Highlight

if TYPE_CHECKING:
    from attncli.data import Array, RowsAs

TEXT = "The animal didn't cross the street because it was too tired."
STORY = "Once upon a time there was a rabbit. It was unbelievably happy, and it ran."


@cache
def story(model: str) -> attncli.Run:
    """Return the run of a model on the story."""
    return attncli.load(model).run(STORY)


def naive(maps: Array, at: tuple[int, ...], direction: str) -> list[float]:
    """One head's map [query, key], pair by pair: from the place the mean of its rows, to it the sum of its columns."""
    if direction == "from":
        return [math.fsum(float(maps[row, key]) for row in at) / len(at) for key in range(maps.shape[1])]
    return [math.fsum(float(maps[row, key]) for key in at) for row in range(maps.shape[0])]


def test_in_minilm_it_looks_at_the_animal(minilm: Path) -> None:
    run = attncli.load(str(minilm)).run(TEXT)
    page = run.highlight("it", layer=3, head=1)
    (line,) = page.highlight.lines
    maps = run.attention().sel(layer=3, head=1).values
    np.testing.assert_allclose(line.weights, maps[10], rtol=1e-6)
    assert round(float(line.weights[2]), 3) == 0.677
    assert [says for text, _, says in Read.page(page.html).tokens if text == "animal"] == ["0.677 · animal · token 2"]
    (back,) = run.highlight("animal", layer=3, head=1, direction="to").highlight.lines
    assert round(float(back.weights[10]), 3) == 0.677


@pytest.mark.parametrize("direction", ["from", "to"])
@pytest.mark.parametrize("model", ["demo:encoder", "demo:decoder"])
@pytest.mark.parametrize("focus", ["it", "unbelievably", "3", "all"])
def test_the_weights_are_sums_over_the_maps(model: str, direction: Direction, focus: str) -> None:
    run = story(model)
    shown = run.highlight(focus, layer=1, direction=direction).highlight
    places = find_focus(run.inputs[0].source, focus)
    assert [(line.head, line.focus) for line in shown.lines] == [
        (head, one.name) for head in run.attention().layers[1].heads for one in places
    ]
    for line in shown.lines:
        maps = run.attention().sel(layer=1, head=int(line.head)).values
        expected = naive(maps, line.positions, direction)
        np.testing.assert_allclose(line.weights[line.visible], np.array(expected)[line.visible], rtol=2e-6, atol=1e-9)
        positions = np.arange(len(maps))
        causal = positions <= max(line.positions) if direction == "from" else positions >= min(line.positions)
        np.testing.assert_array_equal(line.visible, causal if model == "demo:decoder" else positions >= 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"words": True},
        {"special": "drop"},
        {"words": True, "special": "drop", "aggregate": "max"},
        {"aggregate": "mean", "aggregate_layers": "mean"},
        {"layer": 1, "head": "0,2"},
        {"rows_as": "predicted"},
    ],
)
def test_rows_that_stream_by_give_what_whole_maps_give(options: dict[str, object]) -> None:
    model = attncli.load("demo:seq2seq")
    options = dict(options)
    rows_as: RowsAs | None = options.pop("rows_as", None)  # type: ignore[assignment]
    texts = [attncli.Text("one two", target="owt eno"), attncli.Text("three of them", target="eerht fo meht")]
    request = Request.of(options)  # type: ignore[arg-type]
    whole = model.gather(texts, request)
    for direction in get_args(Direction):
        looking = FocusRequest("1" if options.get("words") else "e", direction, rows_as)
        expected = {(each.kind, each.text): each for each in highlights(whole.maps, whole.inputs, looking)}
        came = 0
        for run in model.runs(texts, replace(request, focus=looking)):
            for found in highlights(run.maps, run.inputs, looking):
                assert_same_lines(found, expected[found.kind, found.text])
                came += 1
        assert came == len(expected) == 6


def assert_same_lines(found: Highlight, other: Highlight) -> None:
    assert [(line.layer, line.head, line.positions) for line in found.lines] == [
        (line.layer, line.head, line.positions) for line in other.lines
    ]
    for mine, theirs in zip(found.lines, other.lines, strict=True):
        np.testing.assert_allclose(mine.weights, theirs.weights, rtol=1e-6)
        np.testing.assert_array_equal(mine.visible, theirs.visible)


def test_the_row_before_a_token_predicts_it() -> None:
    run = story("demo:decoder")
    found = run.highlight("3-5", 1, 0, rows_as="predicted").highlight
    own = run.highlight("2-4", 1, 0).highlight
    assert found.rows_as == "predicted"
    assert found.lines[0].positions == (3, 4, 5)
    np.testing.assert_array_equal(found.lines[0].weights, own.lines[0].weights)
    with pytest.raises(UsageError, match="no row predicts '<s>': choose another focus, or rows_as input"):
        run.highlight("0", rows_as="predicted")
    with pytest.raises(UsageError, match="unknown rows_as 'out': known are: input, predicted"):
        run.highlight("0", rows_as="out")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a decoder, whose rows predict the next token"):
        attncli.load("demo:encoder").run("a b").highlight("a", rows_as="predicted")


def test_nothing_chosen_is_the_mean_of_all() -> None:
    run = story("demo:encoder")
    page = run.highlight("It")
    (line,) = page.highlight.lines
    np.testing.assert_allclose(line.weights, run.attention().stack()[:, :, line.positions[0]].mean((0, 1)), rtol=1e-5)
    assert "encoder self-attention · mean of layers · mean of heads" in page.html
    combined = attncli.load("demo:encoder").run(STORY, aggregate="max")
    assert "mean of layers · max of heads" in combined.highlight("It").html


def test_across_two_texts_the_focus_is_a_query_or_a_key() -> None:
    run = attncli.load("demo:seq2seq").run("one two", target="owt eno")
    maps = run.attention("cross").sel(layer=0, head=0).values
    queries, keys = run.attention("cross").queries, run.attention("cross").keys
    (line,) = run.highlight("eno", layer=0, head=0, kind="cross").highlight.lines
    assert (len(line.weights), line.positions) == (len(keys), find_focus(queries, "eno")[0].positions)
    np.testing.assert_allclose(line.weights, naive(maps, line.positions, "from"), rtol=1e-6)
    (line,) = run.highlight("one", layer=0, head=0, kind="cross", direction="to").highlight.lines
    assert (len(line.weights), line.positions) == (len(queries), find_focus(keys, "one")[0].positions)
    np.testing.assert_allclose(line.weights, naive(maps, line.positions, "to"), rtol=1e-6)
    with pytest.raises(UsageError, match="'eno' does not occur in the text: there are one, two, </s>"):
        run.highlight("eno", kind="cross", direction="to")


def test_a_notebook_shows_the_page_within_a_frame(tmp_path: Path) -> None:
    page = story("demo:encoder").highlight("It", layer=0, head=0)
    ((tag, given),) = Read.page(page._repr_html_()).elements
    assert (tag, given["sandbox"], given["srcdoc"]) == ("iframe", "", page.html)
    for suffix, start in ((".html", b"<!DOCTYPE html>"), (".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")):
        assert page.save(tmp_path / f"it{suffix}").read_bytes().startswith(start)
    assert (tmp_path / "it.html").read_text(encoding="utf-8") == page.html
    with pytest.raises(UsageError, match=r"unknown format 'htm' of .*it\.htm: did you mean 'html'"):
        page.save(tmp_path / "it.htm")


def test_what_cannot_be_highlighted_is_an_error() -> None:
    model = attncli.load("demo:encoder")
    with pytest.raises(UsageError, match="highlights need full maps, these show a part of the text"):
        model.run(STORY, rows="0-5").highlight("It")
    with pytest.raises(UsageError, match="unknown direction 'form': did you mean 'from'"):
        model.run(STORY).highlight("It", direction="form")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there are no maps of text 1"):
        model.run(STORY).highlight("It", text=1)
    long = " ".join(f"and so it went on {at}" for at in range(10))
    too_many = r"\d+ lines of 62 tokens are more than a page can show .* such as focus='and#6', layer and head"
    with pytest.raises(UsageError, match=too_many):
        list(model.runs([attncli.Text(long)], replace(Request(), focus=FocusRequest("all"))))


def test_a_model_highlights_one_text_as_a_run_does_without_its_maps() -> None:
    model, run = attncli.load("demo:encoder"), story("demo:encoder")
    for options in ({}, {"layer": 1, "head": "0,2"}, {"direction": "to"}):
        page = model.highlight(STORY, "It", max_memory="1", **options)  # type: ignore[arg-type]
        if "head" in options:
            assert [(line.layer, line.head) for line in page.highlight.lines] == [(1, 0), (1, 2)]
        else:
            expected = run.highlight("It", **options)  # type: ignore[arg-type]
            (ours,), (theirs,) = page.highlight.lines, expected.highlight.lines
            np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-5)
            assert (page.model, page.highlight.direction) == (expected.model, expected.highlight.direction)
    seq2seq = attncli.load("demo:seq2seq")
    with pytest.raises(UsageError, match="several kinds of attention: say which, with kind as one of decoder, cross"):
        seq2seq.highlight("one two", "eno", target="owt eno")
    assert seq2seq.highlight("one two", "eno", target="owt eno", kind="cross").highlight.kind == "cross"
    with pytest.raises(UsageError, match="expected text to be a text or a Text, got list"):
        model.highlight([STORY, STORY], "It")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'thing' does not occur in the text"):
        model.highlight(STORY, "thing")


def test_rows_of_a_few_words_are_kept_of_a_text_whose_maps_would_not_fit() -> None:
    text = " ".join(f"Animal {at} crossed." for at in range(150))
    model = attncli.load("demo:decoder")
    request = Request.of({"max_memory": "1MB"})
    with pytest.raises(UsageError, match="would keep"):
        list(model.runs([attncli.Text(text)], request))
    looking = FocusRequest("Animal#100")
    (run,) = model.runs([attncli.Text(text)], replace(request, focus=looking))
    (shown,) = highlights(run.maps, run.inputs, looking)
    assert len(shown.lines) == 3 * 8
    assert sum(each.weights.nbytes for each in run.maps[0].layers) < 1_000_000
    assert all(np.isclose(line.weights[line.visible].sum(), 1, atol=1e-4) for line in shown.lines)
