"""JUnit XML: the shape that CI servers read, whatever stands in rules."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from attncli.studies.check.ci import junit
from attncli.studies.check.result import Case, Checked, Drift, Verdict

HOLDS = Verdict("it → animal", "attention", True, 3, "wanted", "found")
FAILS = Verdict("sink < 0.9", "budget", False, 9, "sink < 0.9 in every head", "head 4.5 has sink 0.912")


def test_a_rule_that_fails_is_a_failure_that_says_why() -> None:
    root = ElementTree.fromstring(junit("rules.yaml", Checked((HOLDS, FAILS))).encode())
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")
    (suite,) = root
    assert (suite.tag, suite.get("name"), suite.get("tests"), suite.get("failures")) == (
        "testsuite",
        "rules.yaml",
        "2",
        "1",
    )
    good, bad = suite
    assert [case.tag for case in suite] == ["testcase", "testcase"]
    assert (good.get("name"), good.get("classname"), good.get("line")) == (
        "it → animal",
        "attncli.check.attention",
        "3",
    )
    assert good.find("failure") is None
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "sink < 0.9 in every head: head 4.5 has sink 0.912"
    assert failure.text == "wanted: sink < 0.9 in every head\nfound: head 4.5 has sink 0.912"


def test_suites_and_baselines_list_what_is_wrong() -> None:
    suite = Verdict("co", "suite", False, 1, "w", "y")
    case = Case("co", 7, None, 0, "he", "king", "queen", False, "encoder", 1, 3, 0.1, 0.2, 2, 9)
    base = Verdict("baseline", "baseline", False, 2, "w", "y")
    chose, scored = replace(case, line=8, half="choose"), replace(case, line=9, half="score")
    found = Checked((suite, base), (case, chose, scored), (Drift("encoder", 1, 3, "sink", 0.1, 0.4, 0.01),))
    failures = [each.text or "" for each in ElementTree.fromstring(junit("f", found).encode()).iter("failure")]
    assert "line 7: he → king 0.100\nline 9: he → king 0.100" in failures[0]  # cases that chose the head do not count
    assert "encoder 1.3 sink: 0.1 → 0.4" in failures[1]


@pytest.mark.parametrize("token", HOSTILE, ids=ascii)
def test_hostile_names_come_back_or_are_shown_escaped(token: str) -> None:
    verdict = Verdict(token, "attention", False, 1, f"gives to '{token}'", token)
    case = next(ElementTree.fromstring(junit(token, Checked((verdict,))).encode()).iter("testcase"))
    if token.isprintable():
        assert case.get("name") == token
    failure = case.find("failure")
    assert failure is not None
    assert failure.text is not None


@given(st.text(st.characters()))
def test_any_text_is_valid_xml(text: str) -> None:
    verdict = Verdict(text, "class", False, 1, text, text)
    ElementTree.fromstring(junit(text, Checked((verdict,))).encode())
