"""Nonsense as an argument of the Python API: UsageError in one short line, never a TypeError from inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
from families import FAMILIES

import attncli
from attncli import UsageError
from attncli.engine.request import Request, RunOptions

NONSENSE: list[Any] = [
    *(
        None,
        5,
        1.5,
        -1,
        True,
        10**30,
        -(10**30),
        float("nan"),
        float("inf"),
        "x",
        "",
        "9" * 999,
        b"x",
        object(),
        object,
    ),
    *([], [1.5], [None], ["x"], [10**30], {}, {"a": 1}, (1, 2, 3)),
]
IDS = [f"{value!r:.20}" for value in NONSENSE]


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load()


def assert_short(error: BaseException) -> None:
    assert len(str(error)) < 500
    assert "\n" not in str(error)


@pytest.mark.parametrize("value", NONSENSE, ids=IDS)
@pytest.mark.parametrize("option", RunOptions.__annotations__)
def test_an_option_is_read_or_refused(option: str, value: Any) -> None:
    try:
        Request.of({option: value})  # type: ignore[misc]
    except UsageError as error:
        assert_short(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1.5}, "expected --layer like all, 3, -1 or 0,2,5-7 .*, got 1.5"),
        ({"layer": True}, "expected --layer like all"),
        ({"head": [0.5]}, "expected --head like all"),
        ({"kind": 5}, "expected --kind as one or several of encoder, decoder, cross, got 5"),
        ({"metrics": 5}, "expected metrics as one or several names, or 'all', got 5"),
        ({"max_tokens": 10**30}, "expected --max-tokens to be at most 9223372036854775807"),
        ({"top_k": True}, "expected --top-k to be a number from 1 up"),
        ({"generate": None}, "expected --generate to be a number from 0 up"),
        ({"min_weight": True}, "expected --min-weight to be above 0"),
        ({"max_memory": True}, "expected --max-memory like 500MB"),
        ({"words": "no"}, "expected words to be True or False, got 'no'"),
    ],
)
def test_the_error_of_an_option_says_what_was_expected(options: Any, message: str, model: attncli.Model) -> None:
    with pytest.raises(UsageError, match=message):
        model.run("a cat", **options)


def test_integers_of_numpy_are_numbers(model: attncli.Model) -> None:
    run = model.run("a cat", layer=np.int64(1), head=np.array([0, 2]), words=np.bool_(True))
    assert [(layer.layer, layer.heads) for layer in run.attention().layers] == [(1, (0, 2))]


@pytest.mark.parametrize("value", [value for value in NONSENSE if not isinstance(value, str) and value != ["x"]])
def test_a_text_is_a_text(value: Any, model: attncli.Model) -> None:
    given = [lambda: model.run(value), lambda: model.run(attncli.Text(value))]
    given += [lambda: model.run("a", pair=value)] if value is not None else []
    for run in given:
        with pytest.raises(UsageError) as refused:
            run()
        assert_short(refused.value)


@pytest.mark.parametrize("value", [value for value in NONSENSE if not isinstance(value, str)])
@pytest.mark.parametrize("name", ["name", "revision", "tokenizer", "target_tokenizer", "head", "device", "dtype"])
def test_arguments_of_load_are_texts(name: str, value: Any) -> None:
    if value is None and name in ("revision", "tokenizer", "target_tokenizer"):
        return
    with pytest.raises(UsageError, match=f"expected the {name} as a text, got"):
        attncli.load(**{name: value})


def test_a_loaded_model_goes_to_capture(minilm: Path) -> None:
    with pytest.raises(UsageError, match=r"got BertForMaskedLM; attncli.capture\(model, inputs\) takes a loaded model"):
        attncli.load(families.build(FAMILIES["bert"]))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected trust_remote_code to be True or False, got str"):
        attncli.load(trust_remote_code="yes")  # type: ignore[arg-type]


def test_swapped_arguments_are_refused(model: attncli.Model) -> None:
    loaded = model.loaded
    for model_argument, inputs in (
        ([[1, 2]], loaded.model),
        ("demo:encoder", "a text"),
        (loaded.tokenizer, loaded.model),
    ):
        with pytest.raises(UsageError, match="expected a Transformers model"):
            attncli.capture(model_argument, inputs)
    with pytest.raises(UsageError, match="expected encoded inputs with input_ids"):
        attncli.capture(loaded.model, loaded.tokenizer)


@pytest.mark.parametrize("value", [value for value in NONSENSE if value is not None and value not in (5, -1)])
def test_a_map_is_selected_by_whole_numbers_and_known_kinds(value: Any, model: attncli.Model) -> None:
    run = model.run("a cat", layer=0)
    for select in (lambda: run.attention(value), lambda: run.attention().sel(head=value)):
        with pytest.raises(UsageError, match=r"there are|known are"):
            select()
