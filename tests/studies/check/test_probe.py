"""Rules about repeated random tokens: scores within limits, and heads of the classes induction and duplicate-token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from attncli.cli.config.rules import file_section
from attncli.errors import UsageError
from attncli.inputs.yaml_file import read_yaml, validate
from attncli.studies.check.bound import Bound, HeadKey
from attncli.studies.check.compute import texts_of
from attncli.studies.check.probe import Probe, probe_verdict
from attncli.studies.check.result import Verdict
from attncli.studies.check.rules import read_rules
from attncli.studies.check.rules.kinds import BudgetRule, ClassRule, RuleFile

HEADS: tuple[HeadKey, ...] = (("decoder", 0, 0), ("decoder", 0, 1), ("decoder", 0, 2))


def _file(tmp_path: Path, text: str) -> RuleFile:
    (tmp_path / "rules.yaml").write_text(text)
    document = read_yaml(str(tmp_path / "rules.yaml"))
    return read_rules(document, validate(document, file_section()))


def _probe(scores: Mapping[str, tuple[float, ...]]) -> Probe:
    """Scores of the three heads, `induction` and `induction_shuffled`; uniform attention has 0.01."""
    real, shuffled = (dict(zip(HEADS, scores[name], strict=True)) for name in ("induction", "induction_shuffled"))
    uniform = dict.fromkeys(HEADS, 0.01)
    return Probe({"induction": real}, {"induction": shuffled}, {"induction": uniform})


def _verdict(tmp_path: Path, rule: str, probe: Probe) -> Verdict:
    (read,) = _file(tmp_path, f"rules:\n- {rule}\n").rules
    assert isinstance(read, BudgetRule | ClassRule)
    return probe_verdict(Bound(read, HEADS, ()), probe, 1e-5)


# by its score alone the last head would be one, but it attends to the same offset whatever is there
PROBE = _probe({"induction": (0.299, 0.4, 0.9), "induction_shuffled": (0.0, 0.1, 0.7)})


@pytest.mark.parametrize(
    ("rule", "holds", "head"),
    [
        ("some head is induction", True, 1),
        ("every head is induction", False, 2),
        ("no head is induction", False, 1),
        ("induction > 0.2", True, 0),
        ("{induction: {heads: any, min: 0.95}}", False, 2),
        ("{induction: {max: 0.9}}", True, 2),
    ],
)
def test_a_score_counts_beyond_that_on_shuffled_tokens(tmp_path: Path, rule: str, holds: bool, head: int) -> None:
    verdict = _verdict(tmp_path, rule, PROBE)
    assert (verdict.holds, verdict.head, verdict.text) == (holds, head, None)
    assert verdict.chance == 0.01


def test_the_reason_has_all_three_numbers(tmp_path: Path) -> None:
    verdict = _verdict(tmp_path, "some head is induction", PROBE)
    why = "head 0.1 has induction 0.400 (0.100 on shuffled tokens), uniform attention 0.010; 1 of 3 heads hold"
    assert (verdict.why, verdict.found) == (why, 0.4)


def test_rules_about_random_tokens_need_no_text(tmp_path: Path) -> None:
    assert texts_of(_file(tmp_path, "rules:\n- head 1.3 is induction\n- duplicate < 0.5\n")) == ()
    with pytest.raises(UsageError, match="there is no text to read"):
        texts_of(_file(tmp_path, "rules:\n- head 1.3 is induction\n- sink < 0.5\n"))


@pytest.mark.parametrize("rule", ["{is: induction, text: a cat}", "{previous: {max: 1}, text: a cat}"])
def test_a_text_for_such_a_rule_is_refused(tmp_path: Path, rule: str) -> None:
    with pytest.raises(UsageError, match=r"line 2, column \d+: '.*' is about repeated random tokens, not about a text"):
        _file(tmp_path, f"rules:\n- {rule}\n")
