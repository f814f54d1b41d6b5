"""Which pictures the selected maps become, and what they are called."""

from __future__ import annotations

import pytest
from made_runs import attention

from attncli.studies.heatmap.report import PictureChoice, pictures


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (PictureChoice(), ["decoder-grid"]),
        (PictureChoice(heads=True), ["decoder-grid"]),
        (PictureChoice(layers=True), [f"decoder-L0{layer}-{what}" for layer in (0, 1) for what in ("grid", "mean")]),
        (PictureChoice(layers=True, grid=True), ["decoder-grid"]),
        (
            PictureChoice(layers=True, heads=True),
            [f"decoder-L0{layer}-H0{head}" for layer in (0, 1) for head in (0, 1, 2)],
        ),
        (PictureChoice(each=True), [f"decoder-L0{layer}-H0{head}" for layer in (0, 1) for head in (0, 1, 2)]),
    ],
)
def test_names_of_pictures(choice: PictureChoice, names: list[str]) -> None:
    assert [picture.name for picture in pictures(attention(), choice)] == names
    assert [picture.name for picture in pictures(attention(), choice, "T000-")] == [f"T000-{name}" for name in names]


def test_names_stay_apart() -> None:
    for choice in (
        PictureChoice(),
        PictureChoice(layers=True),
        PictureChoice(layers=True, heads=True),
        PictureChoice(each=True),
    ):
        for maps in (attention(12, 12), attention().mean("head"), attention().mean("layer")):
            names = [picture.name for picture in pictures(maps, choice)]
            assert len(set(names)) == len(names) > 0
