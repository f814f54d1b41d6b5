"""Each view as SVG and PNG, its numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from opened import VIEWS, Made, Open, near
from PIL import Image

import attncli
from attncli.data.surfaces import token_columns, token_texts
from attncli.data.transforms import to_words


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_saved_in_each_format(view: str, made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("encoder").html).go(f"view={view}&layer=3&head=1&query=10&key=2")
    files: dict[str, Path] = {}
    for name in ("SVG", "PNG", "CSV"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"{name} file").click()
        assert waiting.value.suggested_filename == f"{view}-encoder-L3-H1.{name.lower()}"
        files[name] = Path(waiting.value.path())
    root = ElementTree.parse(files["SVG"]).getroot()
    assert root.tag.endswith("svg")
    assert len(list(root.iter())) > 5
    image = Image.open(files["PNG"])
    assert image.width > 300
    assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 10
    rows = list(csv.DictReader(io.StringIO(files["CSV"].read_text())))
    assert rows


def test_saved_weights_are_those_of_the_run(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    true = one.run.attention("encoder").sel(layer=3, head=1)
    rows = open_page(one.html).csv("view=matrix&layer=3&head=1")
    weights = np.array([float(row["weight"]) for row in rows]).reshape(true.values.shape)
    assert (np.abs(weights - true.values) <= true.values.max(1, keepdims=True) / 255 + 1e-7).all()
    assert [row["key_token"] for row in rows[: len(true.keys)]] == token_texts(true.keys)


def test_saved_tables_name_tokens_as_those_of_python_do(open_page: Open) -> None:
    run = attncli.load("demo:decoder").run("Unbelievable cafés 😀 aren't cheap.", rows=(2, 9))
    opened = open_page(run.view().html)
    names = ["query", "key", "query_token", "query_piece", "key_token", "key_piece"]
    for address in ("view=head&heads=0,1", "view=matrix", "view=matrix&words=1", "view=model"):
        table = (to_words(run.attention()) if "words" in address else run.attention()).to_frame()
        rows = opened.csv(address)
        columns = ["kind", "layer", "head", "largest", *names] if address == "view=model" else list(table.columns)
        assert list(rows[0]) == columns
        assert {row["key_piece"] for row in rows} != {row["key_token"] for row in rows}
        by_position = {(row.query, row.key): [*map(str, row)] for row in table[names].itertuples(index=False)}
        for row in rows:
            assert by_position[int(row["query"]), int(row["key"])] == [row[name] for name in names]


def test_the_flow_of_a_page_has_the_columns_of_the_table(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    rows = open_page(one.html).csv("view=flow&query=10")
    flow = one.run.rollout().to_frame()
    assert list(rows[0]) == [name for name in flow.columns if name not in ("text", "position")]
    true = flow[flow["query"] == 10]
    assert [row["key_piece"] for row in rows] == true["key_piece"].tolist()
    for name in ("rollout", "uniform"):
        assert np.allclose([float(row[name]) for row in rows], true[name], atol=0.002)


def test_the_table_of_a_text_names_its_tokens(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    rows = open_page(one.html).csv("view=text&layer=3&head=1&query=10")
    keys = one.run.attention().keys
    assert [(row["token"], row["piece"]) for row in rows] == list(zip(*token_columns(keys), strict=True))
    true = one.run.attention().sel(layer=3, head=1).values[10]
    assert near([float(row["weight"]) for row in rows], true, true.max())
