"""Rules about retrieval: heads that attend, where the model writes a token, to the same token in what it has read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from made_rows import Map, block, by_hand, causal, feed
from studies.check.test_rules import refused, rule

import attncli
from attncli.data import Input, Text, Tokens
from attncli.studies.check.bound import Bound, BoundMeasure, HeadKey
from attncli.studies.check.result import Verdict
from attncli.studies.check.retrieval import RetrievalMeasures, retrieval_verdict

if TYPE_CHECKING:
    from conftest import RunCli

HEADS: tuple[HeadKey, ...] = tuple(("decoder", 0, head) for head in range(4))
PIECES = ("a", "b", "c", "d", "e", "f", "g", "h", "a", "b", "c", "d")
TEXT = Input(0, Text("made"), replace(Tokens.plain(PIECES), segments=("user",) * 8 + ("assistant",) * 4))
COPY = "abc abc abc abc abc abc"
CHAT = [{"role": "user", "content": "The cat sat on the mat."}, {"role": "assistant", "content": "The cat sat."}]


# ------------------------------------------------------------------------------------------- by hand


def weights(*tops: int) -> Map:
    """Return a causal map of one head whose rows have most weight on these keys."""
    rows = np.where(causal(12), 0.1 / np.arange(1, 13)[:, None], 0)
    rows[np.arange(12), tops] += 0.9
    return by_hand(rows.tolist(), causal(12))


# rows 7 to 10 predict the written tokens; the last row alone says what a head does seven keys back elsewhere
COPIES = weights(*[0] * 7, 0, 1, 2, 3, 0)
BY_POSITION = weights(*[0] * 7, 0, 1, 2, 3, 4)
COPIES_HALF = weights(*[0] * 7, 0, 1, 0, 0, 0)
COPIES_ONE = weights(*[0] * 7, 0, 0, 0, 0, 0)


def verdict(file: Path, line: str) -> Verdict:
    bound: BoundMeasure = Bound(rule(file, line), HEADS, (0,))
    measures = RetrievalMeasures([bound], [TEXT])
    maps = (COPIES, BY_POSITION, COPIES_HALF, COPIES_ONE)
    feed(measures, [block([replace(COPIES, weights=torch.cat([of_head.weights for of_head in maps]))], "decoder")])
    return retrieval_verdict(bound, measures, 1e-5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


UNIFORM = np.mean([1 / 8, 1 / 9, 1 / 10, 1 / 11])


@pytest.mark.parametrize(
    ("line", "holds", "head", "met"),
    [
        ("some head is retrieval", True, 0, 2),
        ("every head is retrieval", False, 1, 2),
        ("no head is retrieval", False, 0, 2),
        ("{is-not: retrieval}", False, 0, 2),
        ("retrieval >= 0.25", True, 3, 4),
        ("{retrieval: {heads: all, min: 0.3}}", False, 3, 3),
    ],
)
def test_a_head_that_copies_scores_beyond_uniform_and_position(
    file: Path, line: str, holds: bool, head: int, met: int
) -> None:
    found = verdict(file, line)
    assert (found.holds, found.head, found.met, found.text) == (holds, head, met, 0)
    assert found.chance == pytest.approx(UNIFORM, abs=1e-6)


def test_the_reason_has_the_score_and_all_baselines(file: Path) -> None:
    found = verdict(file, "some head is retrieval")
    why = "head 0.0 has retrieval 1.000 (0.000 by position alone, at most 1.000 of 4 written tokens)"
    assert (found.found, found.why) == (1.0, f"{why}, uniform attention {UNIFORM:.3f}; 2 of 4 heads hold")
    assert "(1.000 by position alone, " in verdict(file, "every head is retrieval").why


# -------------------------------------------------------------------------------------- a whole file


def wrote(head: str, *lines: str) -> str:
    Path("rules.yaml").write_text("\n".join([head, "rules:", *(f"- {line}" for line in lines)]), encoding="utf-8")
    return "rules.yaml"


def check_heads(run_cli: RunCli, head: str, expected: Any, text: int) -> None:
    """Compare limits and classes of each head with the table of `find`; all rules hold, so that none is drawn."""
    beyond = expected["retrieval"] - expected[["retrieval_uniform", "retrieval_positional"]].max(axis=1)
    names = [f"{row.layer}.{row.head}" for row in expected.itertuples()]
    limits = [f"{{retrieval: {{heads: {name}, min: 0}}}}" for name in names]
    classes = [
        f"head {name} is {'' if value >= 0.3 else 'not '}retrieval" for name, value in zip(names, beyond, strict=True)
    ]
    done = run_cli("check", wrote(head, *limits, *classes), "--json")
    assert done.code == 0, done.err
    verdicts = json.loads(done.out)["rules"]
    for row, limit in zip(expected.itertuples(), verdicts, strict=False):
        assert (limit["layer"], limit["head"], limit["text"]) == (row.layer, row.head, text)
        assert (limit["found"], limit["chance"]) == pytest.approx((row.retrieval, row.retrieval_uniform), abs=1e-6)
        baselines = f"{row.retrieval_positional:.3f} by position alone, at most {row.retrieval_most:.3f}"
        assert f"({baselines} of {row.written:g} written tokens)" in limit["why"]
    assert {verdict["sort"] for verdict in verdicts[len(names) :]} == {"class"}


def test_what_a_model_generates_has_the_scores_of_find(run_cli: RunCli) -> None:
    expected = attncli.load("demo:decoder", head="auto-lm").run(COPY, generate=8).find("generated", "prompt").to_frame()
    assert expected["retrieval"].max() > 0
    check_heads(run_cli, f"model: demo:decoder\ngenerate: 8\ntexts: {{copy: {COPY}}}", expected, 0)


def test_a_chat_has_the_scores_of_find_and_texts_without_answer_do_not_count(run_cli: RunCli) -> None:
    Path("chat.json").write_text(json.dumps(CHAT))
    chat = Text("\n".join(message["content"] for message in CHAT), messages=tuple(CHAT))
    expected = attncli.load("demo:decoder").run(chat).find("assistant", "user").to_frame()
    assert expected["retrieval_most"].max() > 0
    check_heads(run_cli, "model: demo:decoder\ntexts: {plain: 'A text.', chat: {chat: chat.json}}", expected, 1)


def test_a_translation_that_the_model_writes_is_measured_in_its_cross_attention(run_cli: RunCli) -> None:
    done = run_cli("check", wrote("model: demo:seq2seq\ntexts: {t: one two}", "retrieval >= 0"), "--json")
    (found,) = json.loads(done.out)["rules"]
    assert (found["kind"], found["holds"]) == ("cross", True)
    assert "by position alone" not in found["why"]


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        (
            "model: demo:decoder\ntexts: {t: a b}",
            "head 0.0 is retrieval",
            "needs a text in which the model wrote",
        ),
        (
            "model: demo:decoder",
            "{is: retrieval, text: a b}",
            "column 25: 'every head is retrieval' needs a text",
        ),
        ("model: demo:decoder", "head 0.0 is retrieval", "there is no text to read"),
        ("model: demo:encoder\ntexts: {t: a b}", "retrieval > 0", "is about a decoder, which writes text"),
        ("model: demo:decoder\nwords: true\ngenerate: 2\ntexts: {t: a b}", "retrieval > 0", "leave out words"),
    ],
)
def test_rules_without_written_tokens_are_refused(run_cli: RunCli, head: str, line: str, message: str) -> None:
    done = run_cli("check", wrote(head, line))
    assert done.code == 2
    assert message in " ".join(done.err.split())


def test_a_baseline_of_texts_with_generated_tokens_is_not_that_of_texts_without(run_cli: RunCli) -> None:
    head = "model: demo:decoder\nmodel-head: causal-lm\n{}texts: {{t: {}}}\nbaseline: {{file: base.json}}"
    assert run_cli("check", wrote(head.format("generate: 2\n", COPY), "sink <= 1"), "--record").code == 0
    done = run_cli("check", wrote(head.format("", COPY), "sink <= 1"))
    assert done.code == 2
    assert "base.json was recorded with generate 2, and this is None" in " ".join(done.err.split())


def test_a_chat_leaves_no_room_for_a_text(file: Path) -> None:
    (file.parent / "chat.json").write_text(json.dumps(CHAT))
    message = refused(file, "texts:\n  both: {text: a, chat: chat.json}\nrules: [sink < 1]\n")
    assert message == "line 2, column 16: a chat has all of its text in its file: leave out text"
    assert "rules.yaml is not JSON" in refused(file, "texts: {chat: {chat: rules.yaml}}\nrules: [sink < 1]\n")
    assert refused(file, "texts: {none: {pair: a}}\nrules: [sink < 1]\n").endswith("the key 'text' is missing")
