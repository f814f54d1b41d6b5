"""YAML is read as plain values with their places; what is wrong is one line that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field

from attncli.errors import UsageError
from attncli.inputs.schema import Listed, Section, validate
from attncli.inputs.yaml_file import MOST_BYTES, read_yaml


class Inner(Section):
    name: str


class Sample(Section):
    heads: str = "all"
    per_query: bool = Field(False, alias="per-query")
    count: int = Field(1, ge=1)
    share: float = 0.5
    kind: Literal["encoder", "cross"] = "encoder"
    format: Listed = Field(default=[])
    inner: list[Inner] = Field(default=[])


_BASIC = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])  # JSON spells others as two halves


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def values(file: Path, text: str, **environment: str) -> object:
    file.write_text(text, encoding="utf-8")
    return read_yaml(file, environment).values


def refused(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        validate(read_yaml(file, {}), Sample)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(file))
    return message.removeprefix(f"{file}")


@pytest.mark.parametrize("word", ["no", "on", "Yes", "3.10", "1:30", "0x10", "2026-01-01", "1_000", "007", "true"])
def test_a_word_stays_what_it_is(file: Path, word: str) -> None:
    assert values(file, f"a: {word}") == {"a": word}


def test_nothing_is_none_and_quotes_make_it_a_text(file: Path) -> None:
    assert values(file, "a:\nb: ~\nc: null\nd: ''\ne: 'null'") == {
        "a": None,
        "b": None,
        "c": None,
        "d": "",
        "e": "null",
    }


def test_the_schema_makes_numbers_and_truths_of_texts(file: Path) -> None:
    file.write_text("heads: 3.10\nper-query: true\ncount: 12\nshare: 1e-3\nformat: png\ninner:\n- name: 7\n")
    read = validate(read_yaml(file), Sample)
    assert (read.heads, read.per_query, read.count, read.share, read.format) == ("3.10", True, 12, 0.001, ["png"])
    assert read.inner[0].name == "7"


def test_variables_of_the_environment_stand_in_values(file: Path) -> None:
    text = "a: ${HOME}/x\nb: '${NONE:-else}'\nc: $${HOME} $5\nd: ${HOME:-y}\n${HOME}: key"
    assert values(file, text, HOME="/h") == {"a": "/h/x", "b": "else", "c": "${HOME} $5", "d": "/h", "${HOME}": "key"}


def test_a_variable_brings_a_text_and_no_yaml(file: Path) -> None:
    assert values(file, "a: ${EVIL}", EVIL="[1, *x]\nb: 2") == {"a": "[1, *x]\nb: 2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("heads: 1\nper_query: true", ", line 2, column 1: unknown key 'per_query': did you mean 'per-query'?"),
        ("inner:\n - name: a\n   nam: b", ", line 3, column 4: unknown key 'nam': did you mean 'name'?"),
        ("inner:\n - {}", ", line 2, column 4: the key 'name' is missing"),
        ("inner: [x]", ", line 1, column 9: expected keys and values, got 'x'"),
        ("inner: x", ", line 1, column 8: expected 'inner' to be a list, got 'x'"),
        ("heads: [1]", ", line 1, column 8: expected 'heads' to be a text, got a list"),
        ("heads:", ", line 1, column 7: expected 'heads' to be a text, got null"),
        ("count: 0", ", line 1, column 8: expected 'count' to be at least 1, got '0'"),
        ("count: 1.5", ", line 1, column 8: expected 'count' to be a whole number, got '1.5'"),
        ("share: much", ", line 1, column 8: expected 'share' to be a number, got 'much'"),
        ("per-query: perhaps", ", line 1, column 12: expected 'per-query' to be true or false, got 'perhaps'"),
        ("kind: decoder", ", line 1, column 7: expected 'kind' to be one of encoder or cross, got 'decoder'"),
        ("- a", ", line 1, column 1: expected keys and values, got a list"),
        ("", " is empty: expected keys and values"),
        ("# nothing\n", " is empty: expected keys and values"),
        ("heads: 1\nheads: 2", ", line 2, column 1: the key 'heads' stands there twice: leave one out"),
        ("heads: [", " is not YAML (line 1, column 9): expected the node content, but found '<stream end>'"),
        ("heads: 1\n--- 2", ", line 2, column 1: expected one document, got a second: leave out what follows ---"),
        ("? [a]\n: b", ", line 1, column 3: expected the name of a key"),
        ("heads: ${NONE}", ", line 1, column 8: the environment has no variable NONE: set it, or give a default as"),
        ("heads: ${a b}", ", line 1, column 8: expected the name of a variable in ${a b}"),
        ("heads: \0", " is not YAML: unacceptable character"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file: Path, text: str, said: str) -> None:
    assert refused(file, text).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "heads: !!python/object/apply:os.system [echo]",
        "heads: !env HOME",
        "heads: &a x\nkind: *a",
        "heads: *a",
        "<<: {heads: 1}",
        "&a heads: 1",
        "heads: &a [*a]",
    ],
)
def test_tags_anchors_and_merges_are_refused(file: Path, text: str) -> None:
    assert "line 1" in refused(file, text)


def test_a_part_of_a_file_knows_its_places_in_the_whole(file: Path) -> None:
    file.write_text("inner:\n- name: a\n- {name: b, nam: c}\n", encoding="utf-8")
    whole = read_yaml(file)
    part = whole.part("inner", 1)
    assert (part.values, part.place.line, part.place.column) == ({"name": "b", "nam": "c"}, 3, 3)
    assert part.part("name").values == "b"
    with pytest.raises(UsageError, match=r"line 3, column 13: unknown key 'nam': did you mean 'name'\?"):
        validate(part, Inner)


def test_a_file_grows_neither_large_nor_deep(file: Path) -> None:
    assert "larger than 256 kB" in refused(file, "heads: " + "x" * MOST_BYTES)
    assert "at most 20 levels" in refused(file, "heads: " + "[" * 2000)


def test_a_file_that_is_not_there_names_its_neighbours(file: Path) -> None:
    file.write_text("a: b")
    with pytest.raises(UsageError, match=r"no such file: .*; did you mean 'rules\.yaml'\?"):
        read_yaml(file.with_name("rule.yaml"))


def test_half_a_surrogate_is_no_text(file: Path) -> None:
    assert ", line 1, column 8: expected characters, got U+D800" in refused(file, r'heads: "\ud800"')


@given(st.dictionaries(st.text(_BASIC, min_size=1), st.text(_BASIC)))
def test_any_texts_in_quotes_come_back(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(json.dumps(texts), encoding="ascii")  # which is YAML too
    assume("${" not in "".join(texts.values()))
    assert read_yaml(file, {}).values == texts
