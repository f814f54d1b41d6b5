"""`edges.parquet`: written in chunks, read back unchanged, complete or not at all."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE
from made_runs import info

import attncli
from attncli.data import Edges, Input, Text, Tokens
from attncli.errors import OutputError, UsageError
from attncli.store import OutputFolder, edges_file

INPUTS = (
    Input(0, Text("a"), Tokens.plain(["one", "two"])),
    Input(1, Text("b"), Tokens.plain(["two", "three", "four"])),
)


def folder(path: Path) -> OutputFolder:
    return OutputFolder(path, "stats", "0")


def edges(*rows: tuple[int, int, int, int, int, int, float], inputs: tuple[Input, ...] = INPUTS) -> Edges:
    return Edges(inputs, *np.array(rows).T)


def chunks() -> Iterator[Edges]:
    yield edges((0, 0, 0, 0, 0, 1, 0.5), (0, 0, 0, 1, 1, 0, 0.25), (1, 0, 0, 0, 2, 0, 0.75))
    yield edges((1, 0, 3, 0, 1, 2, 0.125))


def written(path: Path, parts: Iterator[Edges]) -> Path:
    with edges_file(folder(path)) as write:
        for part in parts:
            write(part)
    return path / "edges.parquet"


def test_chunks_are_read_back_in_order_with_their_tokens(tmp_path: Path) -> None:
    read = pq.read_table(written(tmp_path / "out", chunks()))
    assert read.schema.metadata[b"schema"] == b"attncli.edges/1"
    assert {field.name: str(field.type) for field in read.schema} == {
        "text": "int32",
        "kind": "dictionary<values=string, indices=int32, ordered=0>",
        **dict.fromkeys(("layer", "head", "query", "key"), "int32"),
        **dict.fromkeys(
            ("query_token", "query_piece", "key_token", "key_piece"),
            "dictionary<values=string, indices=int32, ordered=0>",
        ),
        "weight": "float",
    }
    names = ["text", "kind", "layer", "head", "query", "key", "query_token", "key_token", "weight"]
    assert [tuple(row[name] for name in names) for row in read.to_pylist()] == [
        (0, "encoder", 0, 0, 0, 1, "one", "two", 0.5),
        (0, "encoder", 0, 1, 1, 0, "two", "one", 0.25),
        (1, "encoder", 0, 0, 2, 0, "four", "two", 0.75),
        (1, "encoder", 3, 0, 1, 2, "three", "four", 0.125),
    ]


def test_the_same_edges_give_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "a", chunks()).read_bytes() == written(tmp_path / "b", chunks()).read_bytes()


def test_a_file_without_edges_is_a_table_without_rows(tmp_path: Path) -> None:
    read = pq.read_table(written(tmp_path, iter(())))
    assert (read.num_rows, read.schema.names[-1]) == (0, "weight")


def test_hostile_tokens_come_back_as_they_are(tmp_path: Path) -> None:
    pieces = [*HOSTILE, "\udcff"]
    side = (Input(0, Text("x"), Tokens.plain(pieces)),)
    rows = [(0, 0, 0, 0, at, len(pieces) - 1 - at, 0.5) for at in range(len(pieces))]
    read = pq.read_table(written(tmp_path, iter([edges(*rows, inputs=side)]))).to_pydict()
    kept = [*HOSTILE, "\\udcff"]
    assert read["query_token"] == read["query_piece"] == kept
    assert read["key_token"] == read["key_piece"] == kept[::-1]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_file_leaves_nothing_behind(stop: type[BaseException], tmp_path: Path) -> None:
    def broken() -> Iterator[Edges]:
        yield next(chunks())
        assert list(tmp_path.glob(".attncli-*.parquet"))
        raise stop

    with pytest.raises(stop):
        written(tmp_path, broken())
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_no_folder_is_created_before_the_first_edge(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), edges_file(folder(tmp_path / "out")):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_lists_a_finished_file(tmp_path: Path) -> None:
    output = folder(tmp_path)
    with edges_file(output) as write:
        write(next(chunks()))
    assert [entry["name"] for entry in output.finish(info())["files"]] == ["edges.parquet"]


def test_a_full_disk_is_a_one_line_error(tmp_path: Path) -> None:
    many = edges(*[(0, 0, layer, 0, 0, 1, 0.5) for layer in range(100_000)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*edges\.parquet: .*File too large; free some space"):
            written(tmp_path, iter([many]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_missing_library_is_an_error_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'pip install "attncli\[parquet\]"'), edges_file(folder(tmp_path)):
        pytest.fail("the work began")


def test_the_file_equals_the_table_of_the_run(tmp_path: Path) -> None:
    run = attncli.load("demo:decoder").run(["one two three", "one"], top_k=2, keep_maps=False)
    read = pq.read_table(written(tmp_path, iter([run.edges()]))).to_pandas()
    frame = run.edges().to_frame()
    assert list(read) == list(frame)
    assert all(read[name].tolist() == frame[name].tolist() for name in frame)
