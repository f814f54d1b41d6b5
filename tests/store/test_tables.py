"""Tables as CSV, JSON Lines and Parquet: exact numbers, exact tokens."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from made_runs import statistics

from attncli.data import columns_of
from attncli.errors import UsageError
from attncli.store.tables import table_csv, table_jsonl, write_table


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_parquet_has_true_types(tmp_path: Path) -> None:
    write_table(tmp_path / "stats.parquet", "parquet", [columns_of(statistics().heads)], "attncli.stats/1")
    table = pq.read_table(tmp_path / "stats.parquet")
    assert [str(kind) for kind in table.schema.types] == ["string", *["int64"] * 4, "double", "double"]
    assert table.column("entropy").null_count == 1


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'^Parquet needs pyarrow: pip install "attncli\[parquet\]"$'):
        write_table(tmp_path / "stats.parquet", "parquet", [{}], "attncli.stats/1")


def test_no_hostile_token_ends_a_line_of_json() -> None:
    columns = columns_of(statistics(tuple(HOSTILE)).tokens)
    assert len(table_jsonl(columns).splitlines()) == len(HOSTILE)


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
