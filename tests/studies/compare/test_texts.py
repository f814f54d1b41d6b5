"""Where A and B read different texts, the terminal names both sides."""

from types import SimpleNamespace
from typing import Any

import pytest

from attncli.data import Input, Text, Tokens
from attncli.studies.compare.study import CompareStudy
from attncli.terminal import named_texts


def seen(texts_of_a: list[str], texts_of_b: list[str]) -> list[str]:
    run: Any = SimpleNamespace(
        inputs=[Input(number, Text(text), Tokens.plain(text.split())) for number, text in enumerate(texts_of_a)]
    )
    result: Any = None
    return [*named_texts(CompareStudy(texts=tuple(map(Text, texts_of_b))).shown_texts(result, run))]


@pytest.mark.parametrize(
    ("texts_of_a", "texts_of_b", "lines"),
    [
        (["one two"], ["one two"], ["text: one two"]),
        (["one two"], ["two one"], ["text A: one two", "text B: two one"]),
        (["same", "one"], ["same", "two"], ["text 0: same", "text 1 A: one", "text 1 B: two"]),
    ],
)
def test_both_sides_are_named(texts_of_a: list[str], texts_of_b: list[str], lines: list[str]) -> None:
    assert seen(texts_of_a, texts_of_b) == lines
