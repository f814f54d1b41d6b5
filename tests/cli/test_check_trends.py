"""`attncli check` over checkpoints: alarms, what must happen, the other rules, files, annotations, bad input."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = "texts:\n  mat: The cat sat on the mat.\n  dog: A dog ran home and slept by the fire.\n"
RULES = f"""{TEXTS}rules:
- trend: sink rises by more than 0.2 between checkpoints
- {{trend: rigidity rises by more than 0.98 within 500 steps in layer 0, name: rigid}}
- induction must rise by more than 0.3 from first to last
- no head uniform
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> Path:
    """Two checkpoints on the way from half of the weights to demo:decoder, whose names do not sort as their steps."""
    folder = tmp_path_factory.mktemp("runs")
    weights = load_file(demo_dirs["decoder"] / "model.safetensors")
    for step, share in ((1000, 1.0), (500, 0.5)):
        checkpoint = shutil.copytree(demo_dirs["decoder"], folder / f"checkpoint-{step}")
        scaled = {name: share * value for name, value in weights.items()}
        save_file(scaled, checkpoint / "model.safetensors", {"format": "pt"})
    return folder


def wrote(text: str) -> str:
    Path("rules.yaml").write_text(text, encoding="utf-8")
    return "rules.yaml"


def test_alarms_fail_and_other_rules_are_about_the_last_checkpoint(
    run_cli: RunCli, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = run_cli("check", wrote(RULES), "-m", f"{checkpoints}/checkpoint-*", "-o", "here", "--junit", "junit.xml")
    assert done.code == 1
    alarm, rigid, must, uniform = pd.read_csv("here/check.csv").to_dict("records")
    assert [rule["holds"] for rule in (alarm, rigid, must, uniform)] == [False, True, True, True]
    assert [rule["sort"] for rule in (alarm, rigid, must, uniform)] == ["trend"] * 3 + ["class"]
    assert alarm["name"] == "no alarm: sink rises by more than 0.2 between checkpoints"
    texts = ["The cat sat on the mat.", "A dog ran home and slept by the fire."]
    models = [attncli.load(str(checkpoints / name)) for name in ("checkpoint-500", "checkpoint-1000")]
    before, after = (model.patterns(texts, shuffles=0).to_frame() for model in models)
    change = after["sink"] - before["sink"]
    assert alarm["found"] == pytest.approx(change.max(), abs=1e-5)
    assert (alarm["layer"], alarm["head"]) == tuple(after.loc[change.idxmax(), ["layer", "head"]])
    trends = pd.read_csv("here/check-trends.csv")
    assert trends["checkpoint"].tolist() == ["checkpoint-500", "checkpoint-1000"] * 3
    assert trends["step"].tolist() == [500, 1000] * 3
    assert trends["value"][:2].tolist() == pytest.approx(
        [table["sink"][change.idxmax()] for table in (before, after)], abs=1e-5
    )
    change = (after["rigidity"] - before["rigidity"])[after["layer"] == 0]
    assert rigid["found"] == pytest.approx(change.max(), abs=1e-5)
    assert must["found"] > 0.9
    document = json.loads(Path("here/check.json").read_text(encoding="utf-8"))
    assert len(document["trends"]) == 6
    assert "::error file=rules.yaml,line=5,title=no alarm%3A sink rises" in done.err
    assert sorted(path.name for path in Path("here").iterdir()) == [
        *("check-trends.csv", "check.csv", "check.json", "manifest.json")
    ]
    failure = ElementTree.parse("junit.xml").getroot().find(".//failure")
    assert failure is not None
    assert f"checkpoint-500: sink {trends['value'][0]}" in str(failure.text)


def test_the_example_runs(run_cli: RunCli, checkpoints: Path, repo: Path) -> None:
    done = run_cli("check", repo / "configs" / "trends.yaml", "-m", f"{checkpoints}/checkpoint-*", "--json")
    rules = json.loads(done.out)["rules"]
    assert [rule["holds"] for rule in rules] == [False, False, True, False]
    assert rules[1]["head"] is None


@pytest.mark.parametrize(
    ("rules", "model", "said"),
    [
        (RULES, "demo:decoder", "line 5, column 10: the rule is about checkpoints: give a pattern of their folders"),
        (RULES, "{runs}/nothing-*", "is a pattern of model folders, but nothing matches"),
        (RULES, "{runs}/checkpoint-5*", "matches one checkpoint, checkpoint-500: expected two or more"),
        (
            f"{TEXTS}rules:\n- sink < 1\n",
            "{runs}/*",
            "is a pattern of checkpoints, and rules.yaml has no rule about them",
        ),
        (
            "rules:\n- {trend: rigidity rises by more than 1, name: x}\n- {text: a b, sink: {max: 1}}\n",
            "{runs}/*",
            "line 2, column 11: rigidity compares texts with each other: give several texts",
        ),
        (f"{TEXTS}rules:\n- sink rises by more than 0.2 in layer 7\n", "{runs}/*", "layer 7 does not exist"),
        ("rules:\n- sink rises by more than 0.2\n", "{runs}/*", "there is no text to read"),
    ],
)
def test_bad_calls_are_one_line(run_cli: RunCli, checkpoints: Path, rules: str, model: str, said: str) -> None:
    done = run_cli("check", wrote(rules), "-m", model.format(runs=checkpoints), "-o", "here")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert not Path("here").exists()


def test_checkpoints_of_unlike_models_are_one_line(run_cli: RunCli, demo_dirs: dict[str, Path]) -> None:
    rules = wrote("rules:\n- induction rises by more than 0.2\n")
    done = run_cli("check", rules, "-m", f"{demo_dirs['encoder'].parent}/[ed]*coder")
    assert (done.code, "have different heads: expected checkpoints of one model" in done.err) == (2, True), done.err
