"""What `stats` writes: the document of the contract, exact numbers, exact tokens, the same bytes every time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE
from made_runs import PIECES, info, one_input, statistics, tokens

from attncli.data import Input, Metric, Profile, Received, Scores, Statistics, Text, Tokens
from attncli.engine.collected import Collected
from attncli.engine.publish import publish
from attncli.engine.report import Report
from attncli.errors import UsageError
from attncli.store import OutputFolder, table_csv
from attncli.store.tables import statistics_tables
from attncli.studies.stats import report
from attncli.studies.stats.study import StatsStudy
from attncli.vocabulary import TABLE_FORMATS


def entropy(rows: Any) -> Any:
    """How widely does a token spread its attention?"""
    return rows


ENTROPY = Metric(entropy, "row", "nat", (0.0, None), "Clark et al. 2019", ("encoder",))


def document(made: Statistics, inputs: Sequence[Input], metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return report.document(made, Collected(info(), tuple(inputs)), metrics)


def write(
    folder: Path,
    made: Statistics,
    inputs: Sequence[Input],
    profile: Profile | None = None,
    formats: tuple[str, ...] = TABLE_FORMATS,
) -> tuple[Path, ...]:
    """Write document and tables, and return the files in the order of writing."""
    tables = report.tables(made, profile, 0.5)
    whole = Report(info(), document(made, inputs, {}), tables)
    return publish("stats", whole, OutputFolder(folder, "stats", "abc"), formats, StatsStudy.formats).files


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_the_document_is_as_the_contract_says() -> None:
    assert document(statistics(), [one_input()], {"entropy": ENTROPY}) == {
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
                **{key: ["[CLS]", "e", "x"] for key in ("queries", "keys")},
                **{key: list(PIECES) for key in ("query_pieces", "key_pieces")},
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
    names = list(document(statistics(std=True), [one_input()], {})["heads"][0])
    assert names[5:] == ["entropy", "entropy_std", "distance"]
    assert table_csv(statistics_tables(statistics(std=True))["stats"]).splitlines() == [
        "kind,layer,head,texts,queries,entropy,entropy_std,distance",
        "encoder,0,0,1,3,0.3,0.5,1.0",
        "encoder,0,1,1,3,,,0.333333",
    ]


def test_inputs_name_both_sides_of_each_kind() -> None:
    source, target = tokens(("a",)), tokens(("b", "c"))
    one = Input(2, Text("x", pair="y", target="z"), source, target)
    made = statistics()
    for score in made.heads.values():
        score.coords["kind"][1][:] = ["encoder", "cross"]
    entries = document(made, [one], {})["inputs"]
    given = {"index": 2, "text": "x", "pair": "y", "target": "z"}
    assert entries == [
        {
            **given,
            "kind": "encoder",
            **{key: ["a"] for key in ("queries", "keys", "query_pieces", "key_pieces")},
            "query_segments": ["a"],
            "key_segments": ["a"],
        },
        {
            **given,
            "kind": "cross",
            "queries": ["b", "e"],
            "keys": ["a"],
            "query_pieces": ["b", "c"],
            "key_pieces": ["a"],
            "query_segments": ["a", "a"],
            "key_segments": ["a"],
        },
    ]


def test_inputs_of_one_part_name_no_segments() -> None:
    plain = Tokens.plain(["b", "c"])
    [entry] = document(statistics(), [Input(0, Text("x"), plain)], {})["inputs"]
    assert not entry.keys() & {"query_segments", "key_segments"}


def test_all_formats_hold_the_same_rows(tmp_path: Path) -> None:
    files = write(tmp_path, statistics(), [one_input()])
    returned = document(statistics(), [one_input()], {})
    assert {path.name for path in files} == {"stats.json"} | {
        f"stats{table}.{format}" for table in ("", "-tokens") for format in TABLE_FORMATS[1:]
    }
    assert json.loads((tmp_path / "stats.json").read_text()) == returned
    for table, key in (("stats", "heads"), ("stats-tokens", "tokens")):
        lines = (tmp_path / f"{table}.jsonl").read_text().split("\n")[:-1]
        assert [json.loads(line) for line in lines] == returned[key]
        assert pq.read_table(tmp_path / f"{table}.parquet").to_pylist() == returned[key]
        in_csv = read_csv((tmp_path / f"{table}.csv").read_text())
        assert in_csv == [
            {
                name: ""
                if value is None
                else str(value).replace("0.30000000000000004", "0.3").replace("3333333333", "")
                for name, value in row.items()
            }
            for row in returned[key]
        ]


def test_an_unknown_format_offers_close_names() -> None:
    with pytest.raises(UsageError, match="unknown --format 'parket': did you mean 'parquet'"):
        StatsStudy.formats.choose(["json", "parket"])


def test_the_same_statistics_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, statistics(), [one_input()]) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_hostile_tokens_come_back_from_every_format(tmp_path: Path) -> None:
    pieces = tuple(HOSTILE)
    write(tmp_path, statistics(pieces), [one_input(pieces)])
    in_json = json.loads((tmp_path / "stats.json").read_bytes())
    in_lines = [json.loads(line) for line in (tmp_path / "stats-tokens.jsonl").read_bytes().split(b"\n")[:-1]]
    with (tmp_path / "stats-tokens.csv").open(newline="", encoding="utf-8") as file:
        in_csv = list(csv.DictReader(file, strict=True))
    in_parquet = pq.read_table(tmp_path / "stats-tokens.parquet").to_pylist()
    assert in_json["inputs"][0]["query_pieces"] == HOSTILE
    for rows in (in_json["tokens"], in_lines, in_csv, in_parquet):
        assert [row["token"] for row in rows] == HOSTILE


@pytest.mark.parametrize("piece", ["\ud800", "a\udfffb"])
def test_half_surrogates_are_written_out_where_utf8_cannot_hold_them(tmp_path: Path, piece: str) -> None:
    write(tmp_path, statistics((piece,)), [one_input((piece,))])
    shown = piece.encode("utf-8", "backslashreplace").decode()
    assert json.loads((tmp_path / "stats.json").read_bytes())["tokens"][0]["token"] == piece
    assert read_csv((tmp_path / "stats-tokens.csv").read_text())[0]["token"] == shown
    assert pq.read_table(tmp_path / "stats-tokens.parquet").to_pylist()[0]["token"] == shown


# ------------------------------------------------------------------------------------------------ profiles


def scores(dim: str, **coords: list[object]) -> dict[str, Scores]:
    heads = {"kind": ("head", np.array(["encoder"], object)), "layer": ("head", np.zeros(1, int))}
    named = {name: (dim, np.array(entries)) for name, entries in coords.items()}
    values = np.array([[0.1 + 0.2, np.nan]])
    return {
        name: Scores(name, values, ("head", dim), heads | named, "1", (0, 1), "") for name in ("mass", "uniform_mass")
    }


def profile() -> Profile:
    n = len(HOSTILE)
    values = np.stack([np.arange(n) / n, np.full(n, np.nan)])
    seen = np.stack([np.full(n, n), np.zeros(n, int)])
    one = Received(3, "encoder", Tokens.plain(HOSTILE), np.zeros(2, int), np.array([1, 4]), values, seen, np.full(2, n))
    return Profile((one,), scores("bin", **{"from": [0, 1], "to": [0, 1]}), scores("end", end=["first", "last"]))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path, statistics(), [one_input()], profile())
    return tmp_path


def test_tokens_and_numbers_come_back_through_every_reader(written: Path) -> None:
    with (written / "received.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    n = len(HOSTILE)
    assert [row["token"] for row in rows] == HOSTILE * 2
    assert [float(row["received"]) for row in rows[:n]] == [at / n for at in range(n)]
    assert {row["received"] for row in rows[n:]} == {""}
    assert [(row["text"], row["head"]) for row in rows] == [("3", "1")] * n + [("3", "4")] * n
    lines = [json.loads(line) for line in (written / "received.jsonl").read_text(encoding="utf-8").splitlines()]
    table = pq.read_table(written / "received.parquet")
    assert table.to_pylist() == lines
    assert [line["token"] for line in lines] == HOSTILE * 2
    assert lines[-1]["received"] is None


def test_sinks_are_the_rows_from_the_threshold_on(written: Path) -> None:
    rows = pq.read_table(written / "received.parquet").to_pylist()
    sinks = pq.read_table(written / "sinks.parquet").to_pylist()
    assert sinks == [row for row in rows if row["received"] is not None and row["received"] >= 0.5]
    assert sinks


def test_what_is_undefined_is_an_empty_cell(written: Path) -> None:
    assert (written / "distance.csv").read_text().splitlines() == [
        "kind,layer,from,to,mass,uniform_mass",
        "encoder,0,0,0,0.3,0.3",
        "encoder,0,1,1,,",
    ]
    assert (written / "ends.csv").read_text().splitlines()[1].startswith("encoder,0,first,0.3")


def test_only_the_formats_asked_for_are_written(tmp_path: Path) -> None:
    files = write(tmp_path, statistics(), [one_input()], profile(), ("json", "csv"))
    names = ["stats.json", *(f"{table}.csv" for table in ("stats", "stats-tokens"))]
    assert [path.name for path in files] == [*names, "received.csv", "sinks.csv", "distance.csv", "ends.csv"]


def test_tables_of_a_profile_name_their_schema(written: Path) -> None:
    for name, schema in (("stats", b"attncli.stats/1"), ("received", b"attncli.profile/1")):
        assert pq.read_schema(written / f"{name}.parquet").metadata[b"schema"] == schema
