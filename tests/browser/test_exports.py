"""Each view as SVG and PNG, its numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from opened import VIEWS, Made, Open
from PIL import Image


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
    page = open_page(one.html).go("view=matrix&layer=3&head=1")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV file").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    weights = np.array([float(row["weight"]) for row in rows]).reshape(true.values.shape)
    assert (np.abs(weights - true.values) <= true.values.max(1, keepdims=True) / 255 + 1e-7).all()
    assert [row["key_token"] for row in rows[: len(true.keys)]] == list(true.keys.pieces)
