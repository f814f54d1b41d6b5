"""Statistics on disk: the documented schema, exact numbers, exact tokens, the same bytes every time."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from made_runs import PIECES, info, one_input, statistics, tokens

from attncli.data import Input, Text, Tokens
from attncli.errors import UsageError
from attncli.store import (
    OutputFolder,
    statistics_tables,
    stats_document,
    table_csv,
    table_jsonl,
    table_parquet,
    write_statistics,
)


@dataclass(frozen=True)
class Declared:
    unit: str = "nat"
    range: tuple[float | None, float | None] = (0.0, None)
    source: str = "Clark et al. 2019"
    question: str = "How widely does a token spread its attention?"


def document(**options: Any) -> dict[str, Any]:
    return stats_document(info(), [one_input()], statistics(**options), {"entropy": Declared()})


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_the_document_has_the_documented_schema() -> None:
    assert document() == {
        "schema": "attncli.stats/1",
        "run": {
            "model": "demo:encoder",
            "revision": None,
            "class": "BertModel",
            "architecture": "",
            "dtype": "float32",
            "device": "cpu",
            "capture": "stream",
            "tokenizer": "",
            "versions": {"attncli": "0.1.0", "torch": "2.13.0"},
            "resolved": {},
            "notes": [],
            "seed": None,
            "input_sha256": "",
            "format": 1,
        },
        "inputs": [
            {
                "index": 0,
                "text": "there",
                "kind": "encoder",
                "queries": list(PIECES),
                "keys": list(PIECES),
                "query_segments": ["a"] * len(PIECES),
                "key_segments": ["a"] * len(PIECES),
            },
        ],
        "metrics": {
            "entropy": {
                "unit": "nat",
                "range": [0.0, None],
                "source": "Clark et al. 2019",
                "question": "How widely does a token spread its attention?",
            },
            "distance": {"unit": "nat", "range": [0.0, None], "source": "Somebody 2020", "question": ""},
        },
        "heads": [
            {
                "kind": "encoder",
                "layer": 0,
                "head": 0,
                "texts": 1,
                "queries": 3,
                "entropy": 0.30000000000000004,
                "distance": 1.0,
            },
            {
                "kind": "encoder",
                "layer": 0,
                "head": 1,
                "texts": 1,
                "queries": 3,
                "entropy": None,
                "distance": 0.3333333333333333,
            },
        ],
        "tokens": [
            {
                "text": 0,
                "kind": "encoder",
                "layer": 0,
                "head": 0,
                "query": n,
                "token": piece,
                "entropy": 0.5,
            }
            for n, piece in enumerate(PIECES)
        ],
    }


def test_the_deviation_over_texts_follows_its_value() -> None:
    names = list(document(std=True)["heads"][0])
    assert names[5:] == ["entropy", "entropy_std", "distance"]
    assert table_csv(statistics_tables(statistics(std=True))["stats"]).splitlines() == [
        "kind,layer,head,texts,queries,entropy,entropy_std,distance",
        "encoder,0,0,1,3,0.30000000000000004,0.5,1.0",
        "encoder,0,1,1,3,,,0.3333333333333333",
    ]


def test_inputs_name_both_sides_of_each_kind() -> None:
    source, target = tokens(("a",)), tokens(("b", "c"))
    one = Input(2, Text("x", pair="y", target="z"), source, target)
    made = statistics()
    for score in made.heads.values():
        score.coords["kind"][1][:] = ["encoder", "cross"]
    entries = stats_document(info(), [one], made, {})["inputs"]
    given = {"index": 2, "text": "x", "pair": "y", "target": "z"}
    assert entries == [
        {**given, "kind": "encoder", "queries": ["a"], "keys": ["a"], "query_segments": ["a"], "key_segments": ["a"]},
        {
            **given,
            "kind": "cross",
            "queries": ["b", "c"],
            "keys": ["a"],
            "query_segments": ["a", "a"],
            "key_segments": ["a"],
        },
    ]


def test_inputs_of_one_part_name_no_segments() -> None:
    plain = Tokens.plain(["b", "c"])
    [entry] = stats_document(info(), [Input(0, Text("x"), plain)], statistics(), {})["inputs"]
    assert not entry.keys() & {"query_segments", "key_segments"}


def test_all_formats_have_the_same_rows(tmp_path: Path) -> None:
    formats = ("json", "csv", "jsonl", "parquet")
    out = OutputFolder(tmp_path, "stats", "abc")
    returned = write_statistics(out, info(), [one_input()], statistics(), {}, formats)
    names = {path.name for path in out.written}
    assert names == {"stats.json"} | {f"stats{t}.{f}" for t in ("", "-tokens") for f in formats[1:]}
    assert json.loads((tmp_path / "stats.json").read_text()) == returned
    for table, key in (("stats", "heads"), ("stats-tokens", "tokens")):
        lines = (tmp_path / f"{table}.jsonl").read_text().split("\n")[:-1]
        assert [json.loads(line) for line in lines] == returned[key]
        assert pq.read_table(tmp_path / f"{table}.parquet").to_pylist() == returned[key]
        in_csv = read_csv((tmp_path / f"{table}.csv").read_text())
        assert in_csv == [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in returned[key]
        ]


def test_parquet_has_column_types() -> None:
    table = pq.read_table(io.BytesIO(table_parquet(statistics_tables(statistics())["stats"])))
    assert [str(kind) for kind in table.schema.types] == ["string", *["int64"] * 4, "double", "double"]
    assert table.column("entropy").null_count == 1


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'^Parquet needs pyarrow: pip install "attncli\[parquet\]"$'):
        table_parquet({})


def test_an_unknown_format_offers_close_names(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "run", "stats", "abc")
    with pytest.raises(UsageError, match="unknown format 'parket' of statistics: did you mean 'parquet'"):
        write_statistics(out, info(), [one_input()], statistics(), {}, ["json", "parket"])
    assert not (tmp_path / "run").exists()


def test_the_same_statistics_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        out = OutputFolder(tmp_path / name, "stats", "abc")
        write_statistics(out, info(), [one_input()], statistics(), {}, ("json", "csv", "jsonl", "parquet"))
        written.append({path.name: path.read_bytes() for path in out.written})
    assert written[0] == written[1]


def test_hostile_tokens_come_back_from_every_format(tmp_path: Path) -> None:
    pieces = tuple(HOSTILE)
    out = OutputFolder(tmp_path, "stats", "abc")
    inputs = [one_input(pieces)]
    write_statistics(out, info(), inputs, statistics(pieces), {}, ("json", "csv", "jsonl", "parquet"))
    in_json = json.loads((tmp_path / "stats.json").read_bytes())
    in_lines = [json.loads(line) for line in (tmp_path / "stats-tokens.jsonl").read_bytes().split(b"\n")[:-1]]
    with (tmp_path / "stats-tokens.csv").open(newline="", encoding="utf-8") as file:
        in_csv = list(csv.DictReader(file, strict=True))
    in_parquet = pq.read_table(tmp_path / "stats-tokens.parquet").to_pylist()
    assert in_json["inputs"][0]["queries"] == HOSTILE
    for rows in (in_json["tokens"], in_lines, in_csv, in_parquet):
        assert [row["token"] for row in rows] == HOSTILE


def test_no_hostile_token_ends_a_line_of_json(tmp_path: Path) -> None:
    columns = statistics_tables(statistics(tuple(HOSTILE)))["stats-tokens"]
    assert len(table_jsonl(columns).splitlines()) == len(HOSTILE)


@pytest.mark.parametrize("piece", ["\ud800", "a\udfffb"])
def test_half_surrogates_are_escaped_where_utf8_cannot_encode_them(tmp_path: Path, piece: str) -> None:
    out = OutputFolder(tmp_path, "stats", "abc")
    made = statistics((piece,))
    write_statistics(out, info(), [one_input((piece,))], made, {}, ("json", "csv", "jsonl", "parquet"))
    shown = piece.encode("utf-8", "backslashreplace").decode()
    assert json.loads((tmp_path / "stats.json").read_bytes())["tokens"][0]["token"] == piece
    assert read_csv((tmp_path / "stats-tokens.csv").read_text())[0]["token"] == shown
    assert pq.read_table(tmp_path / "stats-tokens.parquet").to_pylist()[0]["token"] == shown


@given(st.lists(st.tuples(st.text(), st.floats()), min_size=1))
def test_any_table_comes_back_from_csv_and_json_lines(rows: list[tuple[str, float]]) -> None:
    texts, values = zip(*rows, strict=True)
    columns = {"token": np.array(texts, dtype=object), "value": np.array(values)}
    finite = [float(value) if np.isfinite(value) else None for value in values]
    in_csv = read_csv(table_csv(columns))
    assert [row["token"] for row in in_csv] == list(texts)
    assert [float(row["value"]) if row["value"] else None for row in in_csv] == finite
    in_lines = [json.loads(line) for line in table_jsonl(columns).splitlines()]
    assert [(row["token"], row["value"]) for row in in_lines] == list(zip(texts, finite, strict=True))
