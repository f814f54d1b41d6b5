"""Saved runs that cannot be right are refused when they are opened, in one line that says what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import attention, info, one_input, statistics
from saved_files import edit, edit_arrays

from attncli.data import Attention, Vectors
from attncli.errors import UsageError
from attncli.store import OutputFolder, RunParts, open_run, save_run
from attncli.store.documents import ManifestDocument, SavedDocument, wrong_type

Maps = np.ndarray[Any, Any]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of a saved run with maps, statistics and vectors."""
    one = one_input()
    maps = Attention("decoder", one.source, one.source, attention().layers)
    vectors = Vectors(
        *(0, "decoder", 0, (0, 1, 2), (0, 0, 0), 0.5, 30.0, False),
        query=np.ones((3, 3, 2)),
        key=np.ones((1, 3, 2)),
        normalizer=np.ones((3, 3)),
    )
    folder = OutputFolder(tmp_path / "run", "stats", "abc")
    save_run(folder, RunParts(info(), (one,), (maps,), statistics(std=True), (vectors,)))
    folder.finish(info())
    return folder.path


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        open_run(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def with_one(value: float) -> Callable[[Maps], Maps]:
    def change(maps: Maps) -> Maps:
        maps[1, 2, 1, 0] = value
        return maps

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda maps: -maps, "expected weights from 0 to 1 (not scores), got -"),
        (lambda maps: maps * 2, "expected rows that sum to 1 or less, got 2 at text 0, decoder, layer 0, head 0"),
        (lambda maps: maps * 0 + np.nan, "expected finite numbers, got nan at text 0, decoder, layer 0, head 0"),
        (with_one(np.nan), "expected finite numbers, got nan at text 0, decoder, layer 1, head 2, query 1, key 0"),
        (with_one(np.inf), "expected finite numbers, got inf at text 0, decoder, layer 1, head 2, query 1, key 0"),
        (with_one(1e30), "expected rows that sum to 1 or less, got 1e+30 at text 0, decoder, layer 1, head 2, query 1"),
        (lambda maps: maps.astype(np.int32), "expected the type float32 in array 'text-0.decoder', got int32"),
        (lambda maps: maps.astype(np.float64), "expected the type float32 in array 'text-0.decoder', got float64"),
        (lambda maps: maps[..., :-1], "expected maps of shape (3, 3, 3) as heads and tokens, got (3, 3, 2)"),
        (lambda maps: maps[:, :, :-1], "expected maps of shape (3, 3, 3) as heads and tokens, got (3, 2, 3)"),
        (lambda maps: maps[:, :-1], "expected maps of shape (3, 3, 3) as heads and tokens, got (2, 3, 3)"),
        (lambda maps: maps[:-1], "IndexError: index 1 is out of bounds"),
    ],
)
def test_impossible_weights_are_refused(saved: Path, change: Callable[[Maps], Maps], problem: str) -> None:
    edit_arrays(saved, change)
    message = refusal(saved)
    assert message.startswith(f"the saved run in {saved} is damaged ({problem}")
    assert message.endswith("): save it again")


@pytest.mark.parametrize(
    ("options", "weight", "possible"),
    [
        ({"by": "norm"}, 1e3, True),
        ({"by": "norm"}, -1.0, False),
        ({"aggregate": "max"}, 1.0, True),
        ({"aggregate": "max"}, 2.0, False),
        ({"aggregate": "mean"}, 1.0, False),
        ({"pool": "mean", "cell": [2, 2]}, 0.9, True),
        ({"pool": "mean", "cell": [2, 2]}, 1.1, False),
        ({"dropped_special": True}, np.nan, True),
        ({}, np.nan, False),
    ],
)
def test_limits_follow_what_maps_show(saved: Path, options: dict[str, Any], weight: float, possible: bool) -> None:
    """Norms have no largest value, rows of the largest weight over heads may sum to more than 1."""
    cells = 2 if "pool" in options else 3

    def change(document: dict[str, Any]) -> None:
        layer = document["attention"][0]["layers"][0]
        heads = [] if "aggregate" in options else layer["heads"]
        whole = {"window": None} if "pool" in options else {}
        document["attention"][0] |= {**options, **whole, "layers": [{**layer, "heads": heads, "visible": None}]}

    edit(saved, "run.json", change)
    heads = 1 if "aggregate" in options else 3
    edit_arrays(saved, lambda maps: np.full_like(maps[:, :heads, :cells, :cells], weight))
    if possible:
        assert open_run(saved).maps[0].layers[0].weights.shape == (heads, cells, cells)
    else:
        refusal(saved)


def test_rows_without_a_visible_key_may_be_undefined(saved: Path) -> None:
    maps = np.array(attention().stack())
    maps[:, :, 0] = np.nan
    edit_arrays(saved, lambda _: maps)
    assert "expected finite numbers, got nan" in refusal(saved)


def test_the_maximum_of_earlier_versions_is_opened(saved: Path) -> None:
    """Masked keys of the maximum over heads were -inf."""

    def change(document: dict[str, Any]) -> None:
        document["attention"][0] |= {"aggregate": "max"}
        for layer in document["attention"][0]["layers"]:
            layer["heads"] = []

    edit(saved, "run.json", change)
    edit_arrays(saved, lambda maps: np.where(np.tri(3, dtype=bool), maps[:, :1], np.float32(-np.inf)))
    assert len(open_run(saved).maps[0].layers) == 2


# ------------------------------------------------------------------------------------------------ documents

FREE = ("given", "resolved")
NULLABLE = ("revision", "seed", "pair", "target", "visible", "statistics")


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a document; only of the first two entries of lists."""
    entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:2]
    for key, entry in entries:
        yield (*path, key)
        if isinstance(entry, (dict, list)) and key not in FREE:
            yield from paths(entry, (*path, key))


def parent_of(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


MODELS = {"manifest.json": ManifestDocument, "run.json": SavedDocument}


def refused(folder: Path, name: str, document: dict[str, Any]) -> bool:
    """Return whether a run with this document is refused, in one line."""
    if problem := wrong_type(document, MODELS[name]):
        return len(problem) < 400 and "\n" not in problem
    original = json.loads((folder / name).read_text())
    edit(folder, name, lambda old: (old.clear(), old.update(document)))
    try:
        open_run(folder)
    except UsageError as error:
        return len(str(error)) < 500 and "\n" not in str(error)
    finally:
        edit(folder, name, lambda old: (old.clear(), old.update(original)))
    return False


@pytest.mark.parametrize("name", MODELS)
def test_a_value_of_a_wrong_type_is_refused(saved: Path, name: str) -> None:
    original = json.loads((saved / name).read_text())
    read_before = ("files", "schema", "complete") if name == "manifest.json" else ("schema", "layout", "arrays")
    accepted, tried = [], 0
    for path in paths(original):
        for wrong in ({"x": 1.5}, ["x", 1.5], -1.5, True, "x", None, 10**30):
            document = copy.deepcopy(original)
            parent, key = parent_of(document, path), path[-1]
            if path[0] in read_before or isinstance(parent[key], type(wrong)):
                continue
            parent[key] = wrong
            tried += 1
            if not refused(saved, name, document):
                accepted.append((path, wrong))
    assert tried > 45
    assert [(path, wrong) for path, wrong in accepted if not any_value(path, wrong)] == []


def any_value(path: tuple[Any, ...], wrong: object) -> bool:
    """Return whether a value may be of this type too."""
    if path[-2:-1] == ("names",):
        return not isinstance(wrong, (dict, list))
    if path[-1] in ("scale", "softcap") or path[-2:-1] == ("range",):
        return wrong is None or (isinstance(wrong, (int, float)) and not isinstance(wrong, bool))
    return (wrong in (None, "x") and path[-1] in NULLABLE) or path[-2:-1] == ("given",)


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_key_is_refused(saved: Path, name: str) -> None:
    original = json.loads((saved / name).read_text())
    accepted = []
    for path in paths(original):
        document = copy.deepcopy(original)
        parent = parent_of(document, path)
        if isinstance(parent, dict) and path[0] not in ("schema", "complete", "files"):
            del parent[path[-1]]
            if not refused(saved, name, document):
                accepted.append(path)
    assert [path for path in accepted if not optional(path)] == []


def optional(path: tuple[Any, ...]) -> bool:
    """Return whether a key may be missing: an entry of a table, or what earlier versions do not have."""
    tables = ("given", "versions", "heads", "std", "tokens")
    return (path[-2:-1] != () and path[-2] in (*tables, "coords")) or path[-1] in ("layout", "vectors", "keys", "std")


def test_a_kind_with_a_scale_needs_its_rows_and_keys(saved: Path) -> None:
    """A run that has them opens; without them, or with other names, it is damaged."""

    def rename(document: Any, kind: str, scaled: dict[str, list[int]]) -> None:
        document["attention"][0]["kind"] = kind
        document["inputs"][0]["scaled"] = scaled
        document["vectors"] = []

    edit(saved, "run.json", lambda document: rename(document, "decoder-canvas", {"decoder-canvas": [0, 0]}))
    opened = open_run(saved)
    assert opened.inputs[0].sides("decoder-canvas")[0].pieces == opened.maps[0].queries.pieces
    edit(saved, "run.json", lambda document: rename(document, "decoder-canvas", {}))
    assert "(expected the rows and keys of decoder-canvas in text 0)" in refusal(saved)
    edit(saved, "run.json", lambda document: rename(document, "decoder", {"decoder": [0, 0]}))
    assert "(expected rows and keys of kinds with a scale, got decoder)" in refusal(saved)
    edit(saved, "run.json", lambda document: rename(document, "sideways-2x2", {}))
    assert "kind" in refusal(saved)
