"""The page of a result: the tokens, points, weights and quality of the result."""

from __future__ import annotations

import numpy as np
import pytest
from page import Read

import attncli
from attncli.data.labels import labels
from attncli.data.surfaces import token_texts
from attncli.studies.qk_map.result import QueryKeyMap

SCHEMA = "qk-map.schema.json"
TEXTS = ["The animal didn't cross the street.", "It was too tired, so it slept."]


@pytest.fixture(scope="module")
def result() -> QueryKeyMap:
    model = attncli.load("demo:encoder")
    return model.qk_map(TEXTS, vectors=48, special="drop", layer=[1, 3])


@pytest.fixture(scope="module")
def read(result: QueryKeyMap) -> Read:
    return Read(result.view().html, SCHEMA)


def test_every_point_is_its_token(result: QueryKeyMap, read: Read) -> None:
    tokens = result.groups["encoder"].tokens
    (kind,) = read.document["kinds"]
    table = np.frombuffer(read.blobs[kind["table"]], "<u4").reshape(3, len(tokens))
    assert kind["queries"] == tokens.queries
    for point, (text, position, _) in enumerate(table.T.tolist()):
        of_text = kind["texts"][text]
        side = result.inputs[of_text["index"]].sides("encoder")[point >= tokens.queries]
        assert token_texts(side)[position] == tokens.token[point]
        assert read.document["sides"][of_text["keys"]]["labels"] == labels(side)


def test_every_head_has_its_points_weights_and_verdict(result: QueryKeyMap, read: Read) -> None:
    group = result.groups["encoder"]
    (kind,) = read.document["kinds"]
    shown = [(layer, head) for layer in kind["layers"] for head in layer["heads"]]
    assert [f"{layer['layer']}.{head['head']}" for layer, head in shown] == group.names
    for row, (_, head) in enumerate(shown):
        assert head["verdict"].lower().rstrip(".") == group.in_words(row).lower()
        assert head["true"] == (group.verdicts[row] in ("good", "fair"))
        numbers = [number[name] for number in head["numbers"] for name in ("map", "full", "chance")]
        values = [float(of_heads[row]) for of_heads in group.quality.values()]
        assert numbers == [None if np.isnan(value) else value for value in values]
    for number, layer in enumerate(kind["layers"]):
        heads, queries = len(layer["heads"]), kind["queries"]
        rows = slice(number * heads, (number + 1) * heads)
        blob, shape = read.blobs[layer["strongest"]], (heads, queries, kind["per_row"])
        scale = np.frombuffer(blob, "<f4", heads * queries).reshape(heads, queries, 1)
        keys = np.frombuffer(blob, "<u2", int(np.prod(shape)), scale.nbytes).reshape(shape)
        weights = (np.frombuffer(blob, np.uint8, offset=scale.nbytes + keys.nbytes).reshape(shape) / 255) ** 2 * scale
        assert (np.abs(weights - group.weights[rows]) <= scale / 255).all()
        assert (keys == group.strongest[rows])[group.strongest[rows] >= 0].all()
        assert (weights[group.strongest[rows] < 0] == 0).all()
