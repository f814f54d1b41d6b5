"""Pictures of combined and pooled maps show the same numbers on every path, and combined maps are finite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import families
import numpy as np
import pytest
from matplotlib.figure import Figure

import attncli
from attncli.capturing import blocks
from attncli.data import Attention, LayerMaps
from attncli.plotting import grid, heatmap

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = " ".join(map(str, range(40)))
COMBINE = [(heads, layers) for heads in ("none", "mean", "max") for layers in ("none", "mean")]


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose first layer sees a window of 4 tokens, and whose second layer sees all before."""
    return families.save(families.FAMILIES["gemma3_text"], tmp_path_factory.mktemp("gemma3"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Attention]:
    """Collects the maps that are drawn, and draws empty figures instead."""
    maps: list[Attention] = []

    def draw(attention: Attention, **_: Any) -> Figure:
        maps.append(attention)
        return Figure((1, 1))

    monkeypatch.setattr(grid, "draw", draw)
    monkeypatch.setattr(heatmap, "draw", draw)
    return maps


def pop(drawn: list[Attention]) -> list[LayerMaps]:
    layers = [maps for attention in drawn for maps in attention.layers]
    drawn.clear()
    return layers


def same(found: list[LayerMaps], expected: list[LayerMaps]) -> None:
    assert [(maps.layer, maps.heads) for maps in found] == [(maps.layer, maps.heads) for maps in expected]
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.weights, two.weights, rtol=3e-6, atol=1e-8)
        masks = [maps.weights < 2 if maps.visible is None else maps.visible for maps in (one, two)]
        np.testing.assert_array_equal(*np.broadcast_arrays(*masks))


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize(("aggregate", "aggregate_layers"), COMBINE)
def test_every_path_gives_the_same_pooled_picture(
    aggregate: Any, aggregate_layers: Any, pool: Any, windowed: Path, run_cli: RunCli, drawn: list[Attention]
) -> None:
    """The forward pass, a saved run, `attncli run`, `Run.heatmap`, and pooling in Python."""
    combine = ["--aggregate", aggregate, "--aggregate-layers", aggregate_layers]
    zoom = ["--resolution", "8", "--pool", pool]
    # of a layer without combined heads, the mean over heads has a picture of its own
    layers = [] if aggregate_layers == "mean" else ["-l", "0"]
    assert run_cli("heatmap", "-m", windowed, "-t", TEXT, *combine, *zoom, *layers).code == 0
    direct = pop(drawn)
    assert not any(np.isinf(maps.weights).any() for maps in direct)

    save = ["--save-maps", "-o", "full", "--metric", "entropy", "--format", "csv"]
    assert run_cli("stats", "-m", windowed, "-t", TEXT, *save).code == 0
    assert run_cli("heatmap", "--from", "full", *combine, *zoom, *layers).code == 0
    same(pop(drawn), direct)

    step = {"heatmap": {"resolution": 8, "pool": pool}}
    config = {"model": str(windowed), "text": TEXT, "aggregate": aggregate, "aggregate-layers": aggregate_layers}
    config |= {"steps": [step]} | ({"layer": 0} if layers else {})
    Path("run.yaml").write_text(json.dumps(config))
    done = run_cli("run", "run.yaml", "-o", "yaml")
    assert done.code == 0, done.err
    same(pop(drawn), direct)

    model = attncli.load(str(windowed))
    options: dict[str, Any] = {"aggregate": aggregate, "aggregate_layers": aggregate_layers}
    options |= {"layer": 0} if layers else {}
    model.run(TEXT, **options).heatmap(resolution=8, pool=pool)
    same(pop(drawn), direct[:1])
    streamed = model.run(TEXT, **options, resolution=8, pool=pool).attention()
    same([*streamed.layers], direct[:1])


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_mean_of_a_layer_is_that_of_its_weights(
    pool: str, windowed: Path, run_cli: RunCli, drawn: list[Attention]
) -> None:
    """The picture of the mean beside the heads shows what `--aggregate mean` shows."""
    options = ["-m", windowed, "-t", TEXT, "--resolution", "8", "--pool", pool, "-l", "1"]
    assert run_cli("heatmap", *options).code == 0
    heads, mean = pop(drawn)
    assert run_cli("heatmap", *options, "--aggregate", "mean").code == 0
    same([mean], pop(drawn))
    assert heads.heads


def test_a_pooled_run_is_not_combined_afterwards(run_cli: RunCli, drawn: list[Attention]) -> None:
    attncli.load("demo:decoder").run("1 2 3 4 5 6 7 8", resolution=4, pool="max").save("pooled")
    done = run_cli("heatmap", "--from", "pooled", "--aggregate", "mean")
    assert done.code == 2
    assert "the mean over heads is taken before that" in done.err
    done = run_cli("heatmap", "--from", "pooled", "-l", "1")
    assert done.code == 0
    assert "the mean over heads is left out" in done.err
    assert len(pop(drawn)) == 1


@pytest.mark.parametrize(
    ("saved", "later"),
    [
        ("--aggregate mean", "--special drop"),
        ("--aggregate-layers mean", "--special drop"),
        ("--aggregate max", "--words"),
        ("--special drop", "--words"),
        ("--aggregate-layers mean", "--aggregate max"),
    ],
)
def test_a_step_that_comes_too_late_is_refused(saved: str, later: str, run_cli: RunCli, drawn: list[Attention]) -> None:
    done = run_cli("heatmap", "-t", "unbelievable cats", *saved.split(), "--save-maps", "-o", "kept")
    assert done.code == 0, done.err
    done = run_cli("heatmap", "--from", "kept", *later.split())
    assert done.code == 2
    assert "before that, or other numbers come out: run the model again" in done.err


@pytest.mark.parametrize("aggregate_layers", ["none", "mean"])
@pytest.mark.parametrize("name", ["demo:decoder", "windowed"])
def test_combined_maps_of_more_tokens_than_a_strip_are_finite(
    name: str, aggregate_layers: Any, windowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks lack the keys that none of their rows see: masked pairs of the combined map are 0 all the same."""
    monkeypatch.setattr(blocks, "ROWS", 16)
    model = attncli.load(str(windowed) if name == "windowed" else name)
    full = model.run(TEXT).attention()
    combined = model.run(TEXT, aggregate="max", aggregate_layers=aggregate_layers).attention()
    assert len(full.queries) > 2 * 16
    expected = np.stack([maps.weights.max(0) for maps in full.layers])
    visible = np.stack([np.broadcast_to(maps.visible, maps.weights.shape).any(0) for maps in full.layers])
    if aggregate_layers == "mean":
        expected, visible = expected.mean(0, keepdims=True, dtype=np.float64), visible.any(0, keepdims=True)
    found = combined.stack()[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
    assert (found[~visible] == 0).all()
    assert np.isfinite(combined.to_frame()["weight"]).all()
