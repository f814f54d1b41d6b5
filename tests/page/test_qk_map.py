"""The page of queries and keys holds the points, norms and weights of every head, and no token breaks out of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hostile import HOSTILE
from made_points import PER_ROW, made_content, some_points
from page import Read

from attncli.page import qk_map
from attncli.page.filled import built_page
from attncli.page.qk_map import encode_norms, encode_points, qk_page_html
from benchmarks.qk_map_page import random_content

SCHEMA = "qk-map.schema.json"


def test_points_norms_and_weights_are_read_back() -> None:
    content = made_content()
    (kind,) = content.kinds
    read = Read(qk_page_html(content), SCHEMA)
    (shown,) = read.document["kinds"]
    queries, count = shown["queries"], shown["queries"] + shown["keys"]
    table = np.frombuffer(read.blobs[shown["table"]], "<u4").reshape(3, count)
    assert [shown["texts"][text]["index"] for text in table[0]] == kind.texts.tolist()
    assert table[1].tolist() == kind.positions.tolist()
    assert table[2].tolist() == kind.types.tolist()
    assert read.document["token_types"] == content.types
    for layer, of_page in zip(kind.layers, shown["layers"], strict=True):
        blob = read.blobs[of_page["points"]]
        frames = np.frombuffer(blob, "<f4", 6).reshape(2, 1, 3)
        codes = np.frombuffer(blob, "<i2", offset=24).reshape(2, count, 2)
        points = frames[..., :2] + codes / 32767 * frames[..., 2:]
        assert np.abs(points - layer.points).max() <= frames[..., 2].max() / 32767
        blob = read.blobs[of_page["norms"]]
        norms = np.frombuffer(blob, "<u2", offset=8).reshape(2, count) / 65535 * np.frombuffer(blob, "<f4", 2)[:, None]
        assert np.abs(norms - layer.norms).max() <= layer.norms.max() / 65535
        blob, shape = read.blobs[of_page["strongest"]], (2, queries, PER_ROW)
        scale = np.frombuffer(blob, "<f4", 2 * queries).reshape(2, queries, 1)
        keys = np.frombuffer(blob, "<u2", int(np.prod(shape)), scale.nbytes).reshape(shape)
        assert (keys == layer.keys).all()
        weights = (np.frombuffer(blob, np.uint8, offset=scale.nbytes + keys.nbytes).reshape(shape) / 255) ** 2 * scale
        assert (np.abs(weights - layer.weights) <= scale / 255).all()


def test_positions_have_four_bytes_where_two_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    content = made_content()
    monkeypatch.setattr(qk_map, "MOST_SHORT_KEYS", 7)
    read = Read(qk_page_html(content), SCHEMA)
    for layer, of_page in zip(content.kinds[0].layers, read.document["kinds"][0]["layers"], strict=True):
        keys = np.frombuffer(read.blobs[of_page["strongest"]], "<u4", layer.keys.size, 4 * 2 * content.kinds[0].queries)
        assert (keys.reshape(layer.keys.shape) == layer.keys).all()


def test_undefined_quality_is_null_and_the_model_is_named_without_folders() -> None:
    content = made_content()
    layer = content.kinds[0].layers[0]
    quality = layer.heads[0]
    undefined = replace(quality, numbers=(replace(quality.numbers[0], map=float("nan")),))
    changed = replace(layer, heads=[undefined, layer.heads[1]])
    info = replace(content.info, model="/home/me/model", notes=("/home/me/model has a note",))
    kinds = [replace(content.kinds[0], layers=[changed, content.kinds[0].layers[1]])]
    html = qk_page_html(replace(content, info=info, kinds=kinds))
    assert "/home/me" not in html
    assert Read(html, SCHEMA).document["kinds"][0]["layers"][0]["heads"][0]["numbers"][0]["map"] is None


def test_texts_without_points_are_left_out() -> None:
    content = made_content([["a", "b", "c"], ["d", "e", "f"]])
    kind = content.kinds[0]
    chosen = kind.texts == 0
    columns = {name: getattr(kind, name)[chosen] for name in ("texts", "positions", "types")}
    layers = some_points(kind, chosen.nonzero()[0], chosen[: kind.queries].nonzero()[0])
    part = replace(kind, queries=3, layers=layers, **columns)
    read = Read(qk_page_html(replace(content, kinds=[part])), SCHEMA)
    assert [text["index"] for text in read.document["kinds"][0]["texts"]] == [0]
    assert [side["labels"] for side in read.document["sides"]] == [["a", "b", "c"]]


def test_hostile_tokens_break_out_of_nothing() -> None:
    content = made_content([HOSTILE], special=())
    hostile = replace(content.info, model="</script><!--<title>&amp;", cls="</script>", notes=("</script>",))
    html = qk_page_html(replace(content, info=hostile))
    assert Read(html, SCHEMA).tags == Read(qk_page_html(made_content([["a"] * 3])), SCHEMA).tags
    assert html == qk_page_html(replace(content, info=hostile))


def test_the_page_of_the_package_has_places_for_title_and_maps() -> None:
    built = built_page("qk-map")
    assert built.count("<!--run-->") == built.count("<title>attncli</title>") == 1
    assert "default-src 'none'" in built


@pytest.mark.parametrize("points", [np.zeros((1, 3, 2)), np.full((1, 1, 2), -7.5)])
def test_points_at_one_place_have_codes(points: np.ndarray) -> None:
    frames, codes = encode_points(points)
    assert not codes.any()
    assert (frames[:, :2] == points[:, 0]).all()


def test_norms_of_zero_have_codes() -> None:
    largest, codes = encode_norms(np.zeros((1, 3)))
    assert largest == 0
    assert not codes.any()


def test_12_x_12_heads_with_2000_vectors_each_need_less_than_15_mb() -> None:
    # one layer, with its own copies of the page and of all tokens; random points compress worse than those of a model
    assert len(qk_page_html(random_content(layers=1, heads=12, vectors=2000))) < 15e6 / 12
