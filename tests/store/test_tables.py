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
from attncli.store.tables import defined_columns, table_csv, table_jsonl, write_table


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


def test_csv_has_no_rounding_errors_and_the_other_formats_have_all_digits() -> None:
    values = [1e-9, -3e-8, 0.9999999998, 0.1234567, 2.5e-5, np.nan, 12345.678]
    columns = {"missing_mass": np.array(values), "key": np.arange(7)}
    cells = ["0.0", "0.0", "1.0", "0.123457", "2.5e-05", "", "12345.7"]
    assert table_csv(columns) == "missing_mass,key\n" + "".join(f"{cell},{n}\n" for n, cell in enumerate(cells))
    in_lines = [json.loads(line)["missing_mass"] for line in table_jsonl(columns).splitlines()]
    assert in_lines == [None if np.isnan(value) else value for value in values]


def test_a_column_that_no_row_can_have_is_left_out() -> None:
    kind = np.array(["cross", "cross"], dtype=object)
    columns = {"kind": kind, "previous_mass": np.full(2, np.nan), "sink": np.array([0.5, np.nan])}
    assert list(defined_columns(columns)) == ["kind", "sink"]
    assert list(defined_columns(columns, ["previous_mass"])) == list(columns)
    nothing = {"kind": kind, "sink": np.full(2, np.nan)}
    assert list(defined_columns(nothing)) == ["kind", "sink"], "nothing is defined at all"
    assert list(defined_columns({"kind": kind[:0], "sink": np.zeros(0)})) == ["kind", "sink"], "there is no row"


@given(st.lists(st.tuples(st.text(), st.floats()), min_size=1))
def test_any_table_comes_back_from_csv_and_json_lines(rows: list[tuple[str, float]]) -> None:
    texts, values = zip(*rows, strict=True)
    columns = {"token": np.array(texts, dtype=object), "value": np.array(values)}
    finite = [float(value) if np.isfinite(value) else None for value in values]
    in_csv = read_csv(table_csv(columns))
    assert [row["token"] for row in in_csv] == list(texts)
    for row, value in zip(in_csv, finite, strict=True):
        if value is None:
            assert row["value"] == ""
        else:
            assert float(row["value"]) == pytest.approx(value, rel=5.001e-6, abs=1e-6)
            assert len(row["value"].partition("e")[0].strip("-").replace(".", "").strip("0")) <= 6
    in_lines = [json.loads(line) for line in table_jsonl(columns).splitlines()]
    assert [(row["token"], row["value"]) for row in in_lines] == list(zip(texts, finite, strict=True))
