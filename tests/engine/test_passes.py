"""Requests and memory of passes, and kept maps that are combined later as a pass combines them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import attention, one_input

import attncli
from attncli.data import Attention, Kind
from attncli.engine import memory
from attncli.engine.kept_maps import reshape
from attncli.engine.request import Request, RunOptions, ZoomOptions, metric_names
from attncli.errors import UsageError


@pytest.mark.parametrize(
    ("size", "found"),
    [("4GB", 4 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("2k", 2000), ("7", 7), (7, 7), (None, None)],
)
def test_sizes_are_read(size: str | int | None, found: int | None) -> None:
    assert memory.parse_size(size) == found


@pytest.mark.parametrize("size", ["", "x", "-1GB", "0", 0, "4XB", "1e9", "GB"])
def test_other_values_than_sizes_are_refused(size: str | int) -> None:
    with pytest.raises(UsageError, match="expected --max-memory like 500MB"):
        memory.parse_size(size)


@given(st.integers(1, 10**15))
def test_formatted_sizes_are_rounded(size: int) -> None:
    shown = memory.parse_size(memory.format_size(size))
    assert shown == pytest.approx(size, rel=0.06)


def test_the_bytes_of_maps_are_exact() -> None:
    heads: dict[tuple[Kind, int], tuple[int, ...]] = {("decoder", 0): (0, 1, 2), ("decoder", 1): (0, 1, 2)}
    kept = attention()
    stored = sum(layer.weights.nbytes for layer in kept.layers) + kept.layers[0].weights[0].size
    assert memory.map_bytes([one_input()], heads, one_head=False, one_layer=False) == stored
    weights = kept.layers[0].weights[0].nbytes
    assert memory.map_bytes([one_input()], heads, one_head=True, one_layer=True) == weights + weights // 4
    assert memory.map_bytes([one_input()] * 2, heads, one_head=True, one_layer=False) == 2 * (
        2 * weights + weights // 4
    )


def test_without_a_limit_half_of_the_free_memory_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    free = memory.free_memory()
    assert free is not None
    assert free > 10**6
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    memory.check_fits(500, None, 5, "less")
    with pytest.raises(
        UsageError, match=r"would keep 501 B .* allowed are 500 B \(half of the 1 kB that are free\); less"
    ):
        memory.check_fits(501, None, 5, "less")
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    memory.check_fits(10**18, None, 5, "less")


def test_a_layer_that_exceeds_the_free_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = attncli.load("demo:decoder"), "the cat sat on the mat " * 20
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 10**6)
    assert model.run(text, metrics="entropy", keep_maps=False, layer=0).stats(["entropy"]).heads
    with pytest.raises(UsageError, match=r"one layer's attention takes .* by the eager route .* --max-tokens"):
        model.run(text, metrics="entropy", keep_maps=False, capture="eager")


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/sys/fs/cgroup/memory.max": "3000\n", "/sys/fs/cgroup/memory.current": "1000\n"}
    real = Path.read_text

    def read(path: Path, *args: Any, **options: Any) -> str:
        return files.get(str(path)) or real(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", read)
    assert memory.free_memory() == 2000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.free_memory() != 2000


# --------------------------------------------------------------------------------- combining kept maps


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load("demo:encoder")


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "1,-1", "head": "0,2"},
        {"words": True},
        {"special": "drop"},
        {"words": True, "special": "drop", "aggregate": "mean"},
        {"aggregate": "max"},
        {"aggregate": "max", "words": True},
        {"aggregate_layers": "mean"},
        {"aggregate": "mean", "aggregate_layers": "mean", "special": "drop"},
    ],
    ids=str,
)
def test_kept_maps_are_combined_as_one_pass_combines_them(options: RunOptions, model: attncli.Model) -> None:
    text = "Unbelievable stories, wonderfully told."
    at_once = model.run(text, **options).maps
    later = reshape(model.run(text).maps, Request.of(options), "the run")[0]
    assert len(at_once) == len(later) == 1
    assert describe(at_once[0]) == describe(later[0])
    for one, other in zip(at_once[0].layers, later[0].layers, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, atol=2e-6)


def describe(maps: Attention) -> tuple[Any, ...]:
    layers = [(layer.layer, layer.heads) for layer in maps.layers]
    return layers, maps.queries.pieces, maps.aggregate, maps.aggregate_layers, maps.words, maps.dropped_special


def test_request_options_are_all_read() -> None:
    request = Request.of({"metrics": ["sink", "sink", "entropy"], "max_memory": "1kB", "layer": 3})
    assert (request.metrics, request.max_memory, request.choice.layers) == (("sink", "entropy"), 1000, ((3, 3),))
    assert metric_names("all") == metric_names(["all", "sink"])
    joined = {"kind", "layer", "head", *ZoomOptions.__annotations__}
    assert set(RunOptions.__annotations__) - joined <= set(Request.__dataclass_fields__)
    with pytest.raises(UsageError, match="unknown --aggregate 'sum'"):
        Request.of({"aggregate": "sum"})  # type: ignore[typeddict-item]


def test_only_the_last_logits_are_computed() -> None:
    decoder, made = attncli.load("demo:decoder", head="causal-lm"), []
    hook = decoder.loaded.model.lm_head.register_forward_hook(lambda *call: made.append(call[-1].shape[1]))
    decoder.run("one two three", generate=2)
    hook.remove()
    assert set(made) == {1}
