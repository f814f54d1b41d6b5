"""Saved runs: opening gives back what was saved, and errors name damaged files."""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_runs import attention, info, one_input, parts, statistics, tokens
from safetensors.numpy import load_file
from saved_files import edit

from attncli.data import Attention, Input, LayerMaps, RunInfo, Scores, Statistics, Text, Tokens, Vectors
from attncli.errors import UsageError
from attncli.store import OutputFolder, RunParts, open_run, save_run
from attncli.store.arrays import ArrayStack, load_arrays, save_arrays

FORMATS = ("safetensors", "npz")
LAYOUTS = ("layer,head,query,key", "query,key,head", "query, key, layer, head")


def saved(folder: Path, run: RunParts, format: str = "safetensors", layout: str = LAYOUTS[0]) -> dict[str, Any]:
    out = OutputFolder(folder, "stats", "abc")
    save_run(out, run, layout=layout, format=format)
    return out.finish(run.info)


def vectors() -> tuple[Vectors, ...]:
    """Return the vectors of two layers whose two heads share a key; one layer has a softcap."""
    made = np.random.default_rng(0)
    return tuple(
        Vectors(
            *(0, "decoder", layer, (1, 2), (0, 0), 0.5, softcap, bool(layer)),
            query=made.normal(size=(2, 3, 4)),
            key=made.normal(size=(1, 3, 4)),
            normalizer=made.normal(size=(2, 3)),
        )
        for layer, softcap in enumerate((None, 30.0))
    )


def a_run() -> RunParts:
    one = one_input()
    maps = attention()
    shared = Attention("decoder", one.source, one.source, maps.layers)
    return RunParts(info(), (one,), (shared,), statistics(std=True), vectors())


# ------------------------------------------------------------------------------------------------ round trip

TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(HOSTILE)
SMALL = st.integers(-(2**31), 2**31)
JSON_VALUES = st.none() | st.booleans() | SMALL | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
OPTIONS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3)


@st.composite
def token_sides(draw: st.DrawFn, n: int) -> Tokens:
    numbers = hnp.arrays(np.int64, n, elements=SMALL)
    offsets = np.sort(draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 2**31))), axis=1)
    offsets[draw(hnp.arrays(np.bool_, n))] = -1
    return Tokens(
        pieces=tuple(draw(st.lists(TEXTS, min_size=n, max_size=n))),
        ids=draw(numbers),
        special=draw(hnp.arrays(np.bool_, n)),
        offsets=offsets,
        words=draw(numbers),
        segments=tuple(draw(st.lists(TEXTS, min_size=n, max_size=n))),
        text=draw(TEXTS),
        scheme=draw(st.sampled_from(["plain", "wordpiece", "bytelevel", "metaspace"])),
    )


@st.composite
def layer_maps(draw: st.DrawFn, layer: int | str, aggregate: str, visible: Any) -> LayerMaps:
    _, n, m = visible.shape
    heads = draw(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True)) if aggregate == "none" else []
    shape = (max(len(heads), 1), n, m)
    mask = draw(st.sampled_from([None, visible]) | hnp.arrays(np.bool_, shape))
    weights = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1)
    if m and mask is not None:
        weights[~np.broadcast_to(mask, shape).any(-1)] = np.nan
    return LayerMaps(layer, tuple(heads), weights, mask)


@st.composite
def attentions(draw: st.DrawFn, one: Input, kind: Any) -> Attention:
    queries, keys = one.sides(kind)
    visible = draw(hnp.arrays(np.bool_, (1, len(queries), len(keys))))
    names = draw(st.lists(st.integers(0, 99), max_size=3, unique=True) | st.just(["mean"]))
    aggregate = draw(st.sampled_from(["none", "mean", "max"]))
    layers = tuple(draw(layer_maps(name, aggregate, visible)) for name in names)
    flags = {name: draw(st.booleans()) for name in ("words", "dropped_special")}
    over_layers = "mean" if names == ["mean"] else "none"
    return Attention(kind, queries, keys, layers, one.index, aggregate, over_layers, **flags)


@st.composite
def inputs(draw: st.DrawFn, index: int) -> Input:
    text = Text(draw(TEXTS), draw(st.none() | TEXTS), draw(st.none() | TEXTS), ({"role": "user", "content": "x"},))
    source = draw(token_sides(draw(st.integers(0, 4))))
    target = draw(st.none() | token_sides(draw(st.integers(0, 3))))
    return Input(index, text, source, target)


@st.composite
def score_tables(draw: st.DrawFn) -> dict[str, Scores]:
    n = draw(st.integers(0, 4))
    labels = draw(st.lists(TEXTS | SMALL | st.booleans() | st.none(), min_size=n, max_size=n))
    mixed = np.empty(n, dtype=object)
    mixed[:] = labels
    fixed = np.array(draw(st.lists(st.text("ab", max_size=3), min_size=n, max_size=n)), dtype="<U3")
    numbers = {"head": ("row", np.arange(n)), "layer": ("row", np.zeros(n, int))}
    coords = {**numbers, "token": ("row", mixed), "kind": ("row", fixed)}
    names = draw(st.lists(st.text(max_size=5), max_size=3, unique=True))
    values = hnp.arrays(np.float64, n, elements=st.floats())
    unit, source = draw(st.text(max_size=5)), draw(TEXTS)
    return {name: Scores(name, draw(values), ("row",), coords, unit, (0.0, None), source) for name in names}


@st.composite
def runs(draw: st.DrawFn) -> RunParts:
    ins = tuple(draw(inputs(index)) for index in range(draw(st.integers(0, 2))))
    kinds = st.lists(st.sampled_from(["encoder", "decoder", "cross"]), max_size=2, unique=True)
    maps = tuple(draw(attentions(one, kind)) for one in ins for kind in draw(kinds))
    tables = st.none() | st.builds(Statistics, *[score_tables()] * 4)
    known = {"given": draw(OPTIONS), "resolved": draw(OPTIONS), "versions": {"attncli": draw(TEXTS)}}
    about = RunInfo(draw(TEXTS), draw(st.none() | TEXTS), notes=tuple(draw(st.lists(TEXTS, max_size=2))), **known)
    return RunParts(about, ins, maps, draw(tables))


@pytest.mark.parametrize("format", FORMATS)
def test_names_that_a_zip_file_would_cut_stay_different(tmp_path: Path, format: str) -> None:
    coords = {name: ("row", np.arange(2)) for name in ("kind", "layer", "head")}
    tables = {
        name: Scores(name, np.arange(2) + i, ("row",), coords, "", (0, 1), "") for i, name in enumerate(["", "\0"])
    }
    run = RunParts(info(), (), (), Statistics(tables))
    saved(tmp_path, run, format)
    assert parts(open_run(tmp_path)) == parts(run)


@given(runs(), st.sampled_from(FORMATS), st.sampled_from(LAYOUTS))
def test_opening_gives_back_what_was_saved(run: RunParts, format: str, layout: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved(Path(folder), run, format, layout)
        assert parts(open_run(folder)) == parts(run)


def test_opened_arrays_are_read_only_and_tokens_shared(tmp_path: Path) -> None:
    saved(tmp_path, a_run())
    run = open_run(tmp_path)
    assert run.maps[0].queries is run.inputs[0].source
    assert not run.maps[0].layers[0].weights.flags.writeable


def test_hostile_tokens_come_back_from_a_run(tmp_path: Path) -> None:
    side = tokens(tuple(HOSTILE))
    run = RunParts(info(), (Input(0, Text("\n".join(HOSTILE)), side),), (), None)
    saved(tmp_path, run)
    assert open_run(tmp_path).inputs[0].source.pieces == tuple(HOSTILE)


# ------------------------------------------------------------------------------------------------ on disk


def test_the_arrays_on_disk_have_the_axes_of_the_layout(tmp_path: Path) -> None:
    stack = attention().stack()
    wanted = {
        "layer,head,query,key": {"text-0.decoder": stack},
        "query, key, layer, head": {"text-0.decoder": stack.transpose(2, 3, 0, 1)},
        "query,key,head": {f"text-0.decoder.layer-{n}": stack[n].transpose(1, 2, 0) for n in range(2)},
    }
    for number, layout in enumerate(LAYOUTS):
        saved(tmp_path / str(number), replace(a_run(), vectors=()), layout=layout)
        arrays = load_file(tmp_path / str(number) / "maps.safetensors")
        maps = {name: array for name, array in arrays.items() if array.dtype == np.float32}
        assert maps.keys() == wanted[layout].keys()
        for name, array in maps.items():
            np.testing.assert_array_equal(array, wanted[layout][name])


def test_layers_of_different_shape_are_separate_arrays(tmp_path: Path) -> None:
    maps = (attention(1, 2).layers[0], attention(2, 3).layers[1])
    one = one_input()
    run = RunParts(info(), (one,), (Attention("decoder", one.source, one.source, maps),), None)
    saved(tmp_path, run)
    shapes = {name: array.shape for name, array in load_file(tmp_path / "maps.safetensors").items()}
    assert shapes["text-0.decoder.layer-0"] == (2, 3, 3)
    assert shapes["text-0.decoder.layer-1"] == (3, 3, 3)
    assert parts(open_run(tmp_path)) == parts(run)


@pytest.mark.parametrize("format", FORMATS)
def test_a_mask_that_layers_share_is_stored_once(tmp_path: Path, format: str) -> None:
    run = a_run()
    copy = np.array(run.maps[0].layers[0].visible)
    last = LayerMaps(2, (0, 1, 2), run.maps[0].layers[0].weights, copy)
    shared = Attention("decoder", tokens(), tokens(), (*run.maps[0].layers, last))
    saved(tmp_path, RunParts(run.info, (), (shared,), None), format)
    arrays = load_arrays(tmp_path / f"maps.{format}")
    assert [name for name, array in arrays.items() if array.dtype == bool] == ["text-0.decoder.visible"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, format: str) -> None:
    for name in ("a", "b"):
        saved(tmp_path / name, a_run(), format)
    for name in ("run.json", f"maps.{format}"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_npz_has_no_times(tmp_path: Path) -> None:
    saved(tmp_path, a_run(), "npz")
    with zipfile.ZipFile(tmp_path / "maps.npz") as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("format", FORMATS)
def test_arrays_of_any_order_of_bytes_and_axes_come_back(tmp_path: Path, format: str) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    stacks = {
        "turned": ArrayStack((numbers.T,)),
        "big": ArrayStack((numbers.astype(">f4"),)),
        "stacked": ArrayStack((numbers[0], numbers[1]), stacked=True),
        "empty": ArrayStack((np.zeros((0, 3)),)),
        "flags": ArrayStack((numbers > 2,)),
    }
    save_arrays(tmp_path / f"a.{format}", stacks)
    arrays = load_arrays(tmp_path / f"a.{format}")
    assert arrays.keys() == stacks.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, stacks[name].array)


@pytest.mark.parametrize("layout", ["layer", "head,query", "query,key,head,head", "quer,key,head", ""])
def test_an_invalid_layout_is_refused(tmp_path: Path, layout: str) -> None:
    with pytest.raises(UsageError, match=f"unknown layout '{layout}': expected head, query and key in some order"):
        saved(tmp_path / "run", a_run(), layout=layout)
    assert not (tmp_path / "run").exists()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'npy' of saved maps: did you mean 'npz'"):
        saved(tmp_path, a_run(), "npy")


# ------------------------------------------------------------------------------------------------ damage


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        open_run(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == (
        f"expected the folder of a saved run, but {tmp_path / 'no'} does not exist: give a folder with manifest.json"
    )
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file")
    assert refusal(tmp_path).startswith(f"{tmp_path} is not a run of attncli: expected a folder with a manifest.json")
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert "is not a run of attncli" in refusal(tmp_path)


def test_a_run_without_maps_says_how_to_keep_them(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path, "heatmap", "abc")
    out.write_text("grid.png", "")
    out.finish(info())
    assert "has no maps: run 'heatmap' again with --save-maps" in refusal(tmp_path)


def test_an_interrupted_run_is_refused(tmp_path: Path) -> None:
    save_run(OutputFolder(tmp_path, "stats", "abc"), RunParts(info(), (one_input(),), (attention(),)))
    assert refusal(tmp_path) == f"the run in {tmp_path} was interrupted before its end: run the same command again"


@pytest.mark.parametrize("where", ["schema", "format"])
def test_a_newer_format_names_both_versions(tmp_path: Path, where: str) -> None:
    saved(tmp_path, a_run())
    newer = {"schema": {"schema": "attncli.run/2"}, "format": {}}[where]
    run = {"format": 2 if where == "format" else 1, "versions": {"attncli": "9.9"}}
    edit(tmp_path, "manifest.json", lambda manifest: manifest.update(newer, run={**manifest["run"], **run}))
    assert refusal(tmp_path) == (
        f"the run in {tmp_path} has format 2 (written by attncli 9.9), "
        "this attncli reads formats up to 1: install a newer attncli"
    )


@pytest.mark.parametrize("name", ["run.json", "maps.safetensors"])
def test_a_missing_or_changed_file_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path, a_run())
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert refusal(tmp_path) == f"{path} differs from manifest.json (changed or damaged): save the run again"
    path.unlink()
    assert refusal(tmp_path) == f"{path} is missing, though manifest.json lists it: save the run again"


@pytest.mark.parametrize("name", ["../maps.safetensors", "/etc/passwd", "run.json", "maps.pkl", None, 3])
def test_maps_are_read_from_the_folder_only(tmp_path: Path, name: Any) -> None:
    saved(tmp_path / "run", a_run())
    edit(tmp_path / "run", "run.json", lambda document: document.update(arrays=name))
    assert refusal(tmp_path / "run").startswith(f"run.json names {name!r} as the file of its maps: expected maps.")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    saved(tmp_path / "run", a_run())
    maps = tmp_path / "run" / "maps.safetensors"
    maps.rename(tmp_path / "elsewhere.safetensors")
    maps.symlink_to(tmp_path / "elsewhere.safetensors")
    assert "differs from manifest.json" in refusal(tmp_path / "run")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("tokens"),
        lambda document: document["attention"][0].pop("layers"),
        lambda document: document["attention"][0].update(queries=99),
        lambda document: document["attention"][0]["layers"][0].update(array="no"),
        lambda document: document["attention"][0]["layers"][0].update(axes=["head"]),
        lambda document: document["attention"][0]["layers"][0].update(at=99),
        lambda document: document["tokens"][0].update(ids=["x"]),
        lambda document: document["tokens"][0].update(ids=[1]),
        lambda document: document.update(inputs=None),
        lambda document: document.update(statistics={"heads": [], "more": {}}),
    ],
)
def test_an_inconsistent_document_is_damaged(tmp_path: Path, change: Any) -> None:
    saved(tmp_path, a_run())
    edit(tmp_path, "run.json", change)
    assert refusal(tmp_path).startswith(f"the saved run in {tmp_path} is damaged (")


def test_a_strange_document_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, a_run())
    edit(tmp_path, "run.json", lambda document: document.update(schema="attncli.saved/2"))
    assert "has schema 'attncli.saved/2', this attncli reads 'attncli.saved/1'" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("size", [0, 7, 100])
def test_a_damaged_array_file_is_refused(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"a{suffix}"
    save_arrays(path, {"a": ArrayStack((np.ones(100),))})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UsageError, match=f"^cannot read {path}: .*; expected"):
        load_arrays(path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"Object arrays cannot be loaded .*; expected plain numbers, no pickles"):
        load_arrays(tmp_path / "a.npz")


def test_runs_without_vectors_are_opened(tmp_path: Path) -> None:
    saved(tmp_path, replace(a_run(), vectors=()))
    assert "vectors" not in json.loads((tmp_path / "run.json").read_text())
    assert open_run(tmp_path).vectors == ()
