"""Combined heads on a page of pooled maps: the values of a run that combines first and pools then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_rows import block, inputs, random_map
from page import TEMPLATE, Read

import attncli
from attncli.data import RunInfo, Zoom
from attncli.data.transforms import zoomed
from attncli.data.zoom import Combining
from attncli.page import COMBINED, EdgeTable, EdgeTables, PageContent, page_html
from attncli.stream import StrongestEdges
from attncli.stream.combine import PassCombined
from attncli.stream.keep import ALL

TEXT = " ".join(["The animal didn't cross the street because it was too tired."] * 6)
CELLS = 20


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder")


@pytest.fixture(scope="module")
def full(decoder: attncli.Model) -> attncli.Run:
    return decoder.run(TEXT, layer="0-1")


@pytest.mark.parametrize("pool", COMBINED)
@pytest.mark.parametrize("aggregate", COMBINED)
def test_every_pair_of_combining_and_pooling(
    aggregate: Combining, pool: Combining, decoder: attncli.Model, full: attncli.Run
) -> None:
    shown = zoomed(full.attention(), Zoom(CELLS, pool, beside=COMBINED))
    whole = full.attention().combined_heads(aggregate)
    tables = {(0, "decoder", maps.layer, "none"): EdgeTable.of_maps(maps, 4) for maps in full.attention().layers}
    tables |= {(0, "decoder", maps.layer, aggregate): EdgeTable.of_maps(maps, 4) for maps in whole.layers}
    read = Read(page_html(PageContent(RunInfo("made"), full.inputs, [shown], tables), TEMPLATE))
    (found,) = read.document["maps"]
    run = decoder.run(TEXT, layer="0-1", aggregate=aggregate, resolution=CELLS, pool=pool)
    for layer, true, strong in zip(found["layers"], run.attention().layers, whole.layers, strict=True):
        assert list(layer["combined"]) == [aggregate]  # only combined heads whose edges are known
        of_all = layer["combined"][aggregate]
        assert np.allclose(read.weights(found, of_all), true.weights, atol=true.weights.max() / 255 + 1e-6, rtol=0)
        assert (read.visible(found, of_all) == true.visible).all()
        edges = np.sort(strong.weights, axis=-1)[..., ::-1][..., :4]
        assert np.allclose(read.edges(found, of_all)[1], edges, atol=edges.max() / 255 + 1e-6, rtol=0)
        # the other order gives other numbers, unless both are means, or both maxima, over heads with one mask
        pooled = read.weights(found, layer)
        other = pooled.mean(0) if aggregate == "mean" else pooled.max(0)
        same = np.allclose(other, true.weights[0], atol=0.02)
        assert same == (aggregate == pool)


@pytest.mark.parametrize("how", COMBINED)
def test_edges_of_combined_heads_from_the_stream(how: Combining) -> None:
    made = random_map(1, 3, 12, 12, "causal")
    tables = EdgeTables({("decoder", 5): (ALL,)}, 4, how)
    edges = StrongestEdges(inputs([made]), tables.add, top_k=4)
    sink = PassCombined(how, {("decoder", 5): (0, 2)}, edges)
    sink.add(block([made], "decoder", layer=5))
    sink.end_layer("decoder", 5)
    edges.result()
    two = made.weights.numpy()[[0, 2]].astype(np.float64)
    expected = np.sort(two.mean(0) if how == "mean" else two.max(0), axis=-1)[:, ::-1][:, :4]
    table = tables.tables[0, "decoder", 5, how]
    assert np.allclose((table.codes[0] / 255) ** 2 * table.scale[0, :, None], expected, atol=1 / 255)


def test_an_undefined_head_does_not_count(full: attncli.Run) -> None:
    attention = full.attention().sel(layer=0)
    (maps,) = attention.layers
    weights = np.array(maps.weights)
    weights[1:, :40] = np.nan
    shown = replace(attention, layers=(replace(maps, weights=weights),))
    mean = zoomed(shown, Zoom(CELLS, beside=COMBINED)).layers[0].combined["mean"]
    only = zoomed(replace(shown, layers=(replace(maps, weights=weights[:1], heads=(0,)),)), Zoom(CELLS)).layers[0]
    cells = 40 // (-(-len(attention.queries) // CELLS))
    assert np.allclose(mean.weights[:, :cells], only.weights[:, :cells])
