"""Files of spans: valid forms, and errors for all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attncli.data import TextSpan
from attncli.errors import UsageError
from attncli.inputs.partitions import read_spans


def test_each_form_of_a_span(tmp_path: Path) -> None:
    (tmp_path / "spans.json").write_text('{"a": ["some words", [0, 4]], "b": [{"tokens": [2, 3]}]}')
    (spans,) = read_spans(tmp_path / "spans.json")
    assert spans == {
        "a": (TextSpan("passage", passage="some words"), TextSpan("characters", 0, 4)),
        "b": (TextSpan("tokens", 2, 3),),
    }
    (tmp_path / "two.json").write_text('[{"a": ["x"]}, {"b": ["y"]}]')
    assert [list(spans) for spans in read_spans(tmp_path / "two.json")] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[", "spans.json is not JSON (line 1, column 2)"),
        ([], "expected an object of segments, each a list of"),
        ({}, "got an empty object"),
        ([["a"]], "text 0: expected an object of segments"),
        ({"a": "words"}, "segment 'a': expected a list of \"a passage\", [start, end] in characters or"),
        ({"a": []}, "segment 'a': expected a list"),
        ({"a": [" "]}, "segment 'a', span 1: expected"),
        ({"a": [{"token": [0, 1]}]}, "segment 'a', span 1: expected"),
        ({"a": ["x", [3, 3]]}, "span 2: expected two whole numbers [start, end] with 0 <= start < end, got [3, 3]"),
        ({"a": [[-1, 3]]}, "0 <= start < end, got [-1, 3]"),
        ({"a": [[0, 1.5]]}, "two whole numbers"),
        ({"a": [[True, 2]]}, "two whole numbers"),
        ({"a": [{"tokens": 3}]}, "two whole numbers [start, end] with 0 <= start < end, got 3"),
        (
            {"special": ["x"]},
            "'special' cannot be the name of a segment (special, rest, generated are reserved): choose",
        ),
        ({" ": ["x"]}, "' ' cannot be the name of a segment"),
        ({"a": ["\ud800"]}, "half a surrogate pair"),
        ({"\udfff": ["x"]}, "half a surrogate pair"),
    ],
)
def test_invalid_content_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(UsageError) as caught:
        read_spans(path)
    assert message in str(caught.value)


def test_a_missing_file_is_refused_with_close_names(tmp_path: Path) -> None:
    (tmp_path / "spans.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no such file: .*; did you mean 'spans.json'"):
        read_spans(tmp_path / "span.json")
