"""`run.view()`: the numbers on the page are the run's, whatever was asked for; a notebook gets it in a frame."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page import Read

import attncli
from attncli.data.surfaces import token_columns
from attncli.errors import UsageError
from attncli.page.filled import built_page

TEXT = "The animal didn't cross the street because it was too tired."
BOTH = [TEXT, "Two."]
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("demo:encoder", BOTH, {}),
    ("demo:decoder", BOTH, {}),
    ("demo:seq2seq", BOTH, {}),
    ("demo:encoder", TEXT, {"words": True}),
    ("demo:decoder", TEXT, {"special": "drop"}),
    ("demo:encoder", TEXT, {"words": True, "special": "drop"}),
    ("demo:encoder", TEXT, {"aggregate": "mean"}),
    ("demo:seq2seq", TEXT, {"aggregate": "max"}),
    ("demo:decoder", TEXT, {"aggregate_layers": "mean", "head": "0,3"}),
    ("demo:seq2seq", TEXT, {"kind": "cross", "layer": -1, "head": "1-2"}),
    ("demo:decoder", TEXT, {"rows": "3-7", "keys": "1-4"}),
    ("demo:encoder", TEXT, {"capture": "eager"}),
]


def agrees(run: attncli.Run, read: Read) -> None:
    """Every map of the run is on the page, with its weights, masks and tokens."""
    assert len(read.document["maps"]) == len(run.maps)
    for found, attention in zip(read.document["maps"], run.maps, strict=True):
        assert (found["text"], found["kind"], found["form"]) == (attention.text, attention.kind, "whole")
        assert (found["words"], found["dropped_special"]) == (attention.words, attention.dropped_special)
        for name in ("queries", "keys"):
            side, tokens = read.document["sides"][found[name]], getattr(attention, name)
            assert [side["texts"], side["pieces"]] == [[*column] for column in token_columns(tokens)]
        for layer, maps in zip(found["layers"], attention.layers, strict=True):
            assert (layer["layer"], layer["heads"]) == (maps.layer, list(maps.heads))
            weights = read.weights(found, layer)
            off = np.abs(weights - maps.weights) / maps.weights.max(-1, keepdims=True)
            assert np.array_equal(np.isnan(weights), np.isnan(maps.weights))
            assert np.nanmax(off) <= 1 / 255 + 1e-6
            expected = True if maps.visible is None else maps.visible
            assert (read.visible(found, layer) == expected).all()


@pytest.mark.parametrize(("model", "text", "options"), CASES)
def test_the_page_has_the_maps_of_the_run(model: str, text: Any, options: dict[str, Any]) -> None:
    run = attncli.load(model).run(text, **options)
    read = Read(run.view().html)
    agrees(run, read)
    assert read.document["run"]["model"] == model
    assert read.document["run"]["capture"] == run.info.capture
    window = [[3, 7], [1, 4]] if "rows" in options else None
    assert [found["window"] for found in read.document["maps"]] == [window] * len(run.maps)


def test_a_real_model(minilm: Path) -> None:
    run = attncli.load(str(minilm)).run(BOTH, metrics="all")
    read = Read(run.view().html)
    agrees(run, read)
    heads = run.stats().to_frame()
    assert [row["entropy"] for row in read.document["stats"]["heads"]] == heads["entropy"].tolist()
    assert len(heads) == 72


def test_numbers_are_measured_where_the_pass_did_not() -> None:
    run = attncli.load("demo:seq2seq").run(TEXT)
    stats = Read(run.view().html).document["stats"]
    frame = run.stats().to_frame()
    assert [(row["kind"], row["layer"], row["head"]) for row in stats["heads"]] == list(
        zip(frame["kind"], frame["layer"], frame["head"], strict=True)
    )
    for name in stats["metrics"]:
        found = np.array([row[name] for row in stats["heads"]], float)
        assert np.allclose(found, frame[name].to_numpy(float), equal_nan=True)
        assert stats["metrics"][name]["question"]


@pytest.mark.parametrize(
    ("options", "heads"),
    [({"aggregate": "max"}, None), ({"rows": "1-2"}, None), ({"aggregate": "mean"}, "mean"), ({"words": True}, 0)],
)
def test_what_cannot_be_measured_has_no_numbers(options: dict[str, Any], heads: Any) -> None:
    stats = Read(attncli.load().run(TEXT, **options).view().html).document["stats"]
    assert stats is None if heads is None else stats["heads"][0]["head"] == heads


# --------------------------------------------------------------------------------------------- what is too large


def strongest_agree(run: attncli.Run, read: Read) -> None:
    """The edges on the page are the strongest of the whole maps of the run; the map is pooled."""
    for found, attention in zip(read.document["maps"], run.maps, strict=True):
        assert (found["form"], found["pool"]) == ("strongest", "mean")
        for layer, maps in zip(found["layers"], attention.layers, strict=True):
            keys, weights = read.edges(found, layer)
            strong = np.sort(np.nan_to_num(maps.weights), axis=-1)[..., ::-1][..., : layer["per_row"]]
            assert np.allclose(weights, strong, atol=strong.max() / 255 + 1e-6, rtol=0)
            there = np.take_along_axis(maps.weights, keys.astype(int), axis=-1)
            assert np.allclose(np.where(weights > 0, there, 0), weights, atol=1 / 255 + 1e-6, rtol=0)
            cells = read.weights(found, layer)
            assert cells.shape[1:] == tuple(
                -(-len(side) // cell)
                for side, cell in zip((attention.queries, attention.keys), found["cell"], strict=True)
            )


LONG = " ".join([TEXT] * 12)


@pytest.mark.parametrize("options", [{}, {"aggregate": "mean"}, {"rows": "20-150"}, {"words": True}])
def test_kept_maps_that_are_too_large_become_the_strongest_weights(options: dict[str, Any]) -> None:
    run = attncli.load("demo:decoder").run(LONG, **options)
    budget = sum(maps.weights.size for maps in run.maps[0].layers) // 2
    page = run.view(max_page=budget)
    assert sum(map(len, Read(page.html).scripts.values())) < budget + len(built_page()) + 50_000
    strongest_agree(run, Read(page.html))
    assert len(page.notes) == 1
    assert re.fullmatch(r"\d+ tokens: each row shows its \d+ strongest weights, the map is .*", page.notes[0])
    assert page.notes[0] in Read(page.html).document["notes"]


def test_a_pooled_run_is_shown_with_the_edges_of_its_pass() -> None:
    model = attncli.load("demo:decoder")
    page = model.run([LONG, TEXT], resolution=32, top_k=5).view()
    read = Read(page.html)
    long, short = read.document["maps"]
    assert (long["form"], short["form"]) == ("strongest", "whole")
    assert (long["layers"][0]["per_row"], short["layers"][0]["edges"]) == (5, None)
    assert len(page.notes) == 1
    read.document["maps"].pop()
    strongest_agree(model.run(LONG), read)
    with pytest.raises(UsageError, match="run with top_k=16 and resolution, or keep full maps"):
        model.run(LONG, resolution=32).view()


def test_what_fits_in_no_page_is_refused() -> None:
    run = attncli.load("demo:decoder").run([LONG, TEXT])
    with pytest.raises(UsageError, match=r"at least \d+ kB .longest text: \d+ tokens.* or fewer texts, or allow more"):
        run.view(max_page="20kB")
    with pytest.raises(UsageError, match=r"expected max_page like 500MB, .* got 'much'"):
        run.view(max_page="much")


def test_a_run_without_maps_is_refused() -> None:
    with pytest.raises(UsageError, match="this run kept no maps to show: run the model with keep_maps=True"):
        attncli.load().run(TEXT, metrics="entropy", keep_maps=False).view()


# --------------------------------------------------------------------------------------------------- the page


def test_a_page_is_saved_and_shown_in_a_notebook(tmp_path: Path) -> None:
    run = attncli.load().run('</iframe> "quoted" & <b>bold</b>')
    page = run.view(height=300)
    assert page.save(tmp_path / "view.html").read_text(encoding="utf-8") == page.html
    shown = page._repr_html_()
    (inside,) = re.findall(r'<iframe srcdoc="([^"]*)" ', shown)
    assert html.unescape(inside) == page.html
    assert shown.startswith("<iframe")
    assert shown.endswith("</iframe>")
    assert 'sandbox="allow-scripts allow-downloads"' in shown
    assert "height: 300px" in shown
    assert not set("<>") & set(inside)


def test_the_same_run_is_the_same_page() -> None:
    model = attncli.load("demo:seq2seq")
    assert model.run(BOTH).view().html == model.run(BOTH).view().html


# ---------------------------------------------------------------------------------------------------- vectors


def rebuilt_agree(run: attncli.Run, read: Read, *, whole: bool = True) -> None:
    """The vectors on the page give the weights of the run."""
    maps = {(found["text"], found["kind"]): found for found in read.document["maps"]}
    assert not whole or len(read.document["vectors"]) == sum(len(attention.layers) for attention in run.maps)
    for vectors in read.document["vectors"]:
        found = maps[vectors["text"], vectors["kind"]]
        (layer,) = run.attention(vectors["kind"], vectors["text"]).sel(layer=vectors["layer"]).layers
        assert vectors["heads"] == list(layer.heads)
        seen = True if layer.visible is None else layer.visible
        assert np.allclose(np.where(seen, read.rebuilt(vectors, found), 0), layer.weights, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("minilm", {}),
        ("demo:decoder", {}),
        ("demo:decoder", {"layer": 1, "head": "3,6-7"}),
        ("demo:decoder", {"rows": "3-9", "keys": "2-5"}),
        ("demo:seq2seq", {}),
        ("demo:seq2seq", {"kind": "cross"}),
    ],
)
def test_the_vectors_on_the_page_give_the_weights(model: str, options: dict[str, Any], minilm: Path) -> None:
    texts = TEXT if "rows" in options else BOTH
    run = attncli.load(str(minilm) if model == "minilm" else model).run(texts, neurons=True, **options)
    read = Read(run.view().html)
    assert read.document["neurons"] == ""
    rebuilt_agree(run, read)


def test_vectors_beside_the_strongest_weights() -> None:
    run = attncli.load("demo:decoder").run(LONG, neurons=True)
    read = Read(run.view(max_page="1.2MB").html)
    assert read.document["maps"][0]["form"] == "strongest"
    rebuilt_agree(run, read)
    with pytest.raises(UsageError, match="at least"):
        run.view(max_page="400kB")


def test_vectors_are_saved_with_a_run(tmp_path: Path) -> None:
    run = attncli.load("demo:decoder").run(TEXT, neurons=True)
    assert attncli.open(run.save(tmp_path)).view().html == run.view().html


def test_where_the_model_computes_its_weights_a_note_says_why_there_are_no_vectors() -> None:
    run = attncli.load("demo:encoder").run(TEXT, neurons=True, capture="eager")
    assert run.vectors == ()
    document = Read(run.view().html).document
    assert document["neurons"] == ""
    assert document["notes"] == [
        "encoder layers 0-3 have no query and key vectors: their weights are the model's own (attncli info says why)"
    ]


@pytest.mark.parametrize(
    "options", [{"words": True}, {"special": "drop"}, {"aggregate": "mean"}, {"aggregate_layers": "mean"}]
)
def test_vectors_are_of_single_heads_and_all_tokens(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="neurons shows single heads and all tokens as the model has them"):
        attncli.load().run(TEXT, neurons=True, **options)


def test_vectors_alone_can_be_asked_for() -> None:
    run = attncli.load("demo:seq2seq").run(TEXT, neurons=True, keep_maps=False, kind="decoder", layer=0)
    (one,) = run.vectors
    assert (one.kind, one.layer, one.query.shape[1]) == ("decoder", 0, len(run.inputs[0].target or ()))


def test_the_command_that_adds_vectors_is_told() -> None:
    found = Read(attncli.load().run('say "it"').view().html).document["neurons"]
    assert found == 'attncli.load("demo:encoder").run("say \\"it\\"", neurons=True).view()'
