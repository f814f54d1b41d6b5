"""What Python prints and what a notebook shows: a line or two for every result, tables, pictures, nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from hostile import HOSTILE
from IPython.core.formatters import DisplayFormatter

import attncli
from attncli import UsageError
from attncli.data import Tokens
from attncli.metrics import entropy

TEXT = "The cat sat on the mat because it was warm."
Make = Callable[[attncli.Model, attncli.Run], Any]
MADE: dict[str, Make] = {
    "Model": lambda model, run: model,
    "Run": lambda model, run: run,
    "Attention": lambda model, run: run.attention(),
    "LayerMaps": lambda model, run: run.attention().layers[0],
    "Statistics": lambda model, run: run.stats(),
    "Scores": lambda model, run: run.stats()["entropy"],
    "Edges": lambda model, run: run.edges(top_k=2),
    "Profile": lambda model, run: run.profile(ends=2),
    "Received": lambda model, run: run.profile(ends=2).received[0],
    "Vectors": lambda model, run: run.vectors[0],
    "Input": lambda model, run: run.inputs[0],
    "Tokens": lambda model, run: run.inputs[0].source,
    "Text": lambda model, run: attncli.Text(TEXT * 50),
    "RunInfo": lambda model, run: run.info,
    "Metric": lambda model, run: entropy.METRIC,
    "Comparison": lambda model, run: attncli.compare(run, run),
    "Flow": lambda model, run: run.rollout().flow,
    "FlowResult": lambda model, run: run.rollout(focus="it"),
    "HeadsResult": lambda model, run: run.heads(),
    "Highlight": lambda model, run: run.highlight("it").highlight,
    "HighlightPage": lambda model, run: run.highlight("it"),
    "Page": lambda model, run: run.view(),
    "Patterns": lambda model, run: run.patterns(),
    "Edit": lambda model, run: attncli.zero("0.0"),
    "Importance": lambda model, run: model.importance([TEXT, "A dog ran home."]),
    "Knockout": lambda model, run: attncli.load("demo:decoder", head="auto-lm").knockout("the cat sat on the"),
    "Attribution": lambda model, run: attncli.load("demo:decoder", head="auto-lm").attribute("the cat sat", "rollout"),
    "Faithfulness": lambda model, run: attncli.load("demo:decoder", head="auto-lm").faithfulness(
        "the cat sat", "attention", removal="delete", draws=1
    ),
    "Pruning": lambda model, run: model.prune([TEXT, "A dog ran."], rank_texts=["It was warm.", "It sat."], heads=1),
    "QueryKeyMap": lambda model, run: model.qk_map(TEXT, layer=0),
    "RankedHeads": lambda model, run: run.find("it", "mat"),
    "Repeated": lambda model, run: model.probe_repeated(4, 1),
    "Watch": lambda model, run: attncli.watch(torch.nn.MultiheadAttention(8, 2)),
    "LogSeries": lambda model, run: attncli.log("demo:encoder", TEXT, metrics="sink", layer=0),
    "Snapshot": lambda model, run: attncli.log("demo:encoder", TEXT, metrics="sink", layer=0).snapshots[0],
    "Segments": lambda model, run: run.segments(spans={"cat": ["The cat"], "mat": ["the mat"]}),
}
PLAIN = {"KINDS", "RunOptions", "ZoomOptions", "FlowOptions", "HeadsOptions", "Thresholds", "__version__"}
PLAIN |= {"PictureArguments"}


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load("demo:encoder")


@pytest.fixture(scope="module")
def run(model: attncli.Model) -> attncli.Run:
    return model.run(TEXT, neurons=True)


def shown(value: object) -> dict[str, Any]:
    """What a notebook stores of the value of a cell, by type, without `%matplotlib inline`."""
    return DisplayFormatter().format(value)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MADE)
def test_a_result_prints_one_or_two_lines(name: str, model: attncli.Model, run: attncli.Run) -> None:
    lines = repr(MADE[name](model, run)).splitlines()
    assert len(lines) in (1, 2)
    assert all(0 < len(line) <= 165 for line in lines)
    assert lines[0].startswith(name if name != "FlowResult" else "Flow")
    assert "array(" not in lines[0]


def test_every_public_class_of_a_result_is_among_them() -> None:
    classes = {name for name in attncli.__all__ if isinstance(getattr(attncli, name), type)}
    errors = {name for name in classes if issubclass(getattr(attncli, name), Exception)}
    assert classes - errors - PLAIN == set(MADE)


def test_lines_say_what_there_is(model: attncli.Model, run: attncli.Run) -> None:
    assert repr(model).startswith("Model demo:encoder: BertModel (bert), 678,112 parameters, float32 on cpu\n")
    assert repr(run).startswith("Run of demo:encoder on 1 text of 16 tokens: keeps maps (encoder), vectors\n")
    asked = model.run(TEXT)
    assert "keeps nothing yet" in repr(asked)
    asked.stats("sink")
    assert "keeps statistics" in repr(asked)
    assert repr(run.stats()).startswith("Statistics of 16 heads over 1 text: 19 metrics\n")
    assert repr(run.attention().sel(layer=1, head=0)).splitlines()[0] == (
        "Attention (encoder, text 0): 1 layer x 1 head, 16 x 16 (query x key)"
    )
    pooled = model.run(TEXT, resolution=4, words=True, special="drop", aggregate="mean").attention()
    assert "4 x 4 (query x key), mean of heads, mean of cells, words, without special tokens" in repr(pooled)


class Cells(HTMLParser):
    """The tags of a page, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_statistics_are_a_table(run: attncli.Run) -> None:
    cells = Cells(shown(run.stats())["text/html"])
    frame = run.stats().to_frame()
    assert {"kind", "layer", "head", *frame.columns} <= set(cells.texts)
    assert f"{frame['entropy'][0]:.4g}" in cells.texts
    assert "nan" not in " ".join(cells.texts).lower()


@pytest.mark.parametrize("token", HOSTILE)
def test_hostile_tokens_are_text(token: str) -> None:
    inputs = (attncli.Input(0, attncli.Text(token), Tokens.plain([token, token])),)
    edges = attncli.Edges(inputs, *[np.array([0])] * 4, np.array([1]), np.array([0]), np.array([1.0]))
    cells = Cells(shown(edges)["text/html"])
    assert cells.tags == {"div", "table", "thead", "tbody", "tr", "th", "td"}
    for text in (*cells.texts, repr(inputs[0]), repr(inputs[0].source), repr(inputs[0].text)):
        assert text.replace("\n", "").isprintable() or not token.isprintable()
        text.encode("utf-8")
    assert len(repr(inputs[0]).splitlines()) == 1


def test_a_picture_is_shown_without_inline_matplotlib(run: attncli.Run) -> None:
    for figure in (run.heatmap(layer=0, head=1), run.rollout(focus="it").figure(), run.highlight("it").figure()):
        assert shown(figure)["image/png"].startswith(b"\x89PNG")


def test_a_page_is_stored_once(run: attncli.Run) -> None:
    stored = shown(run.view())
    assert set(stored) == {"text/plain", "text/html"}
    assert len(stored["text/html"]) > 100_000
    assert len(stored["text/plain"]) < 200


# ------------------------------------------------------------------------------------------- NumPy and dir


def test_an_attention_is_an_array(run: attncli.Run) -> None:
    attention = run.attention()
    assert np.asarray(attention).tolist() == attention.stack().tolist()
    single = attention.sel(layer=1, head=2)
    assert np.asarray(single).shape == (16, 16)
    assert np.asarray(single).tolist() == single.values.tolist()
    assert np.asarray(attention, dtype=np.float64).dtype == np.float64
    assert not np.asarray(single).flags.writeable
    copied = np.array(attention)
    assert copied.flags.writeable
    copied[:] = 0
    assert attention.stack().max() > 0
    assert np.shares_memory(single.__array__(copy=False), attention.layers[1].weights)
    for copies in (lambda: attention.__array__(copy=False), lambda: single.__array__(np.float64, copy=False)):
        with pytest.raises(ValueError, match=r"copies: use np\.asarray"):
            copies()


def test_layers_of_unequal_heads_are_no_array_and_the_error_says_why(run: attncli.Run) -> None:
    attention = run.attention()
    first = replace(attention.layers[0], heads=(0,), weights=attention.layers[0].weights[:1])
    unequal = replace(attention, layers=(first, *attention.layers[1:]))
    with pytest.raises(UsageError, match=r"layers differ in their number of heads \(\[1, 4\]\): select layers"):
        np.asarray(unequal)


def test_dir_lists_the_public_names_alone() -> None:
    assert dir(attncli) == sorted(attncli.__all__)
