"""The HTML file: no text, token or name can break out of its element."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hostile import HOSTILE
from page import TEMPLATE, Read

from attncli.data import Attention, Input, LayerMaps, RunInfo, Scheme, Text, Tokens
from attncli.page import PageContent, page_html
from attncli.page.filled import built_page
from attncli.page.payload import build_payload


def content(pieces: list[str], scheme: Scheme = "plain", name: str = "demo") -> PageContent:
    n = len(pieces)
    at = np.arange(n)
    tokens = Tokens(tuple(pieces), at, at < 0, np.full((n, 2), -1), at, tuple(pieces), "".join(pieces), scheme)
    maps = LayerMaps(0, (0,), np.random.default_rng(0).dirichlet(np.ones(n), (1, n)))
    text = Input(0, Text(" ".join(pieces)), tokens)
    info = RunInfo(name, revision=name, cls=name, versions={name: name}, notes=(name,))
    stats = {"metrics": {}, "heads": []}
    shown = [Attention("encoder", tokens, tokens, (maps,))]
    return PageContent(info, [text], shown, stats=stats, notes=[name], neurons=name)


@pytest.mark.parametrize("template", [TEMPLATE, None])
@pytest.mark.parametrize("scheme", ["plain", "bytelevel"])
def test_hostile_tokens_break_out_of_nothing(scheme: Scheme, template: str | None) -> None:
    html = page_html(content(HOSTILE, scheme, "</script><!--<title>&amp;'\"\u2028"), template)
    empty = page_html(content(["a"], scheme), template)
    read = Read(html)
    assert read.tags == Read(empty).tags
    assert read.document["sides"][0]["pieces"] == HOSTILE
    assert read.document["sides"][0]["segments"] == HOSTILE
    assert read.texts["title"] == "</script><!--<title>&amp;'\"\u2028 · attncli"
    (document,) = re.findall(r'id="page">(.*)</script>', html)
    assert document.isascii()
    assert not set("<>&") & set(document)


def test_half_surrogates_are_preserved() -> None:
    read = Read(page_html(content(["\ud800", "a"]), TEMPLATE))
    assert read.document["sides"][0]["pieces"] == ["\ud800", "a"]


def test_the_same_content_is_the_same_file() -> None:
    assert page_html(content(["a", "b"])) == page_html(content(["a", "b"]))


def test_the_page_of_the_package_has_places_for_title_and_run() -> None:
    assert built_page().count("<!--run-->") == built_page().count("<title>attncli</title>") == 1
    assert "default-src 'none'" in built_page()


def test_equal_sides_and_masks_are_stored_once() -> None:
    one = content(["a", "b"])
    visible = np.tri(2, dtype=bool)[None]
    (maps,) = one.maps[0].layers
    layers = tuple(replace(maps, layer=layer, visible=visible.copy()) for layer in range(3))
    twin = Tokens.plain(["a", "b"])
    shown = replace(one.maps[0], layers=layers, queries=twin, keys=Tokens.plain(["a", "b"]))
    read = Read(page_html(replace(one, maps=[shown]), TEMPLATE))
    (found,) = read.document["maps"]
    assert len(read.document["sides"]) == 1
    assert len({layer["visible"] for layer in found["layers"]}) == 1
    assert read.visible(found, found["layers"][2]).tolist() == visible.tolist()


def test_masks_are_eight_keys_to_the_byte() -> None:
    one = content(["a", "b", "c", "d"])
    (maps,) = one.maps[0].layers
    shown = replace(one.maps[0], layers=(replace(maps, visible=np.tri(4, dtype=bool)[None]),))
    read = Read(page_html(replace(one, maps=[shown]), TEMPLATE))
    assert [*read.blobs[read.document["maps"][0]["layers"][0]["visible"]]] == [0b10001100, 0b11101111]


def test_equal_masks_of_heads_are_stored_once_and_full_visibility_not_at_all() -> None:
    one = content(["a", "b", "c"])
    (maps,) = one.maps[0].layers
    seen = np.stack([np.tri(3, dtype=bool), np.tri(3, dtype=bool)])
    other = np.stack([np.tri(3, dtype=bool), np.ones((3, 3), bool)])
    weights = np.repeat(maps.weights, 2, 0)
    layers = tuple(LayerMaps(0, (0, 1), weights, mask) for mask in (seen, other, np.ones((1, 3, 3), bool)))
    read = Read(page_html(replace(one, maps=[replace(one.maps[0], layers=layers)]), TEMPLATE))
    (found,) = read.document["maps"]
    assert [read.visible(found, layer).shape[0] for layer in found["layers"]] == [1, 2, 1]
    assert found["layers"][2]["visible"] is None
    assert read.visible(found, found["layers"][1]).tolist() == other.tolist()


def test_a_long_text_is_named_by_its_beginning() -> None:
    one = content(["a"])
    for text, name in (("x" * 80, "x" * 80), ("x" * 81, "x" * 79 + "…"), (" a\n b ", "a b"), ("", "text 0")):
        made = replace(one, inputs=[replace(one.inputs[0], text=Text(text))])
        assert build_payload(made)[0]["maps"][0]["name"] == name
