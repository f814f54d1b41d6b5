"""YAML is read as plain values with their positions; an error is one line with the position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field

from attncli.errors import UsageError
from attncli.inputs.yaml_file import MAX_BYTES, Section, TextList, read_yaml, split_variables, validate


class Inner(Section):
    name: str


class Sample(Section):
    heads: str = "all"
    per_query: bool = Field(False, alias="per-query")
    count: int = Field(1, ge=1)
    share: float = 0.5
    kind: Literal["encoder", "cross"] = "encoder"
    format: TextList = Field(default=[])
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
def test_a_word_stays_text(file: Path, word: str) -> None:
    assert values(file, f"a: {word}") == {"a": word}


def test_missing_values_are_none_and_quoted_values_are_texts(file: Path) -> None:
    assert values(file, "a:\nb: ~\nc: null\nd: ''\ne: 'null'") == {
        "a": None,
        "b": None,
        "c": None,
        "d": "",
        "e": "null",
    }


def test_the_schema_converts_texts_to_numbers_and_booleans(file: Path) -> None:
    file.write_text("heads: 3.10\nper-query: true\ncount: 12\nshare: 1e-3\nformat: png\ninner:\n- name: 7\n")
    read = validate(read_yaml(file), Sample)
    assert (read.heads, read.per_query, read.count, read.share, read.format) == ("3.10", True, 12, 0.001, ["png"])
    assert read.inner[0].name == "7"


def test_variables_of_the_environment_are_replaced_in_values(file: Path) -> None:
    text = "a: ${HOME}/x\nb: '${NONE:-else}'\nc: $${HOME} $5\nd: ${HOME:-y}\n${HOME}: key"
    assert values(file, text, HOME="/h") == {"a": "/h/x", "b": "else", "c": "${HOME} $5", "d": "/h", "${HOME}": "key"}


def test_the_value_of_a_variable_is_text_and_not_yaml(file: Path) -> None:
    assert values(file, "a: ${EVIL}", EVIL="[1, *x]\nb: 2") == {"a": "[1, *x]\nb: 2"}


@pytest.mark.parametrize(
    ("text", "message_start"),
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
        ("heads: 1\nheads: 2", ", line 2, column 1: the key 'heads' occurs twice: remove one"),
        ("heads: [", " is not YAML (line 1, column 9): expected the node content, but found '<stream end>'"),
        ("heads: 1\n--- 2", ", line 2, column 1: expected one document, got a second: remove everything from --- on"),
        ("? [a]\n: b", ", line 1, column 3: expected the name of a key"),
        ("heads: ${NONE}", ", line 1, column 8: the environment has no variable NONE: set it, or give a default as"),
        ("heads: ${a b}", ", line 1, column 8: expected the name of a variable in ${a b}"),
        ("heads: \0", " is not YAML: unacceptable character"),
    ],
)
def test_errors_name_the_position(file: Path, text: str, message_start: str) -> None:
    assert refused(file, text).startswith(message_start)


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


def test_a_part_of_a_file_has_positions_in_the_whole_file(file: Path) -> None:
    file.write_text("inner:\n- name: a\n- {name: b, nam: c}\n", encoding="utf-8")
    whole = read_yaml(file)
    part = whole.part("inner", 1)
    assert (part.values, part.position.line, part.position.column) == ({"name": "b", "nam": "c"}, 3, 3)
    assert part.part("name").values == "b"
    with pytest.raises(UsageError, match=r"line 3, column 13: unknown key 'nam': did you mean 'name'\?"):
        validate(part, Inner)


def test_large_and_deep_files_are_refused(file: Path) -> None:
    assert "larger than 256 kB" in refused(file, "heads: " + "x" * MAX_BYTES)
    assert "at most 20 levels" in refused(file, "heads: " + "[" * 2000)


def test_a_missing_file_is_refused_with_close_names(file: Path) -> None:
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


class _CountedText(str):
    """A text that counts the characters over which it is searched."""

    steps = 0

    def find(self, part: str, start: int = 0) -> int:  # type: ignore[override]
        position = super().find(part, start)
        _CountedText.steps += (len(self) if position < 0 else position + 1) - start
        return position


@pytest.mark.parametrize("piece", ["${", "$${", "${A}", "$${A}", "${A:-", "}", "$", "${a b", "a${A:-b}}"])
def test_variables_are_replaced_in_linear_time(piece: str) -> None:
    text = _CountedText(piece * 30_000)
    _CountedText.steps = 0
    parts = list(split_variables(text))
    assert _CountedText.steps <= 3 * len(text)
    restored = "".join(f"${{{part}}}" if is_variable else part for part, is_variable in parts)
    assert restored == text.replace("$${A}", "${A}") if piece == "$${A}" else restored == text
