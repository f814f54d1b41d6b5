"""What `--help`, `--version`, `explain` and `info` promise, and that it is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from attncli import registry
from attncli.cli.commands.explain import names
from attncli.models import HEADS
from attncli.vocabulary import MODEL_HEADS

if TYPE_CHECKING:
    from conftest import RunCli

COMMANDS = registry.names("cli.commands")
PANELS = {
    "Look": "find heatmap view highlight qk-map",
    "Measure": "stats patterns heads flow segments compare",
    "Test": "importance attribute faithfulness knockout prune",
    "Automate": "run check log",
    "Reference": "info explain",
}
GROUPS = {
    "Model": "--model --revision --tokenizer --target-tokenizer --model-head --device --dtype --trust-remote-code "
    "--capture --compile",
    "Input": "--text --pair --target --file --dataset --split --streaming --text-file --column --on-error --chat "
    "--generate --max-tokens --add-bos --batch-tokens",
    "Selection": "--kind --layer --head --aggregate --aggregate-layers --words --word-ids --special",
    "Output": "--out --force --format --pictures --save-maps --maps-format --layout --max-memory --csv-safe --json "
    "--quiet --verbose --debug",
    "Own module": "--module --inputs",
    "Saved run": "--from --labels --key-labels --array --axes",
}


def panels_of(shown: str) -> dict[str, str]:
    """Return the panels of a help by heading."""
    return {part.split("─", 1)[0].strip(): part for part in shown.split("╭─ ")[1:]}


def text_of(run_cli: RunCli, *args: str) -> str:
    done = run_cli(*args)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_the_commands_are_those_of_the_contract() -> None:
    assert COMMANDS == [
        "attribute",
        "check",
        "compare",
        "explain",
        "faithfulness",
        "find",
        "flow",
        "heads",
        "heatmap",
        "highlight",
        "importance",
        "info",
        "knockout",
        "log",
        "patterns",
        "prune",
        "qk-map",
        "run",
        "segments",
        "stats",
        "view",
    ]


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_shows_the_commands(args: list[str], run_cli: RunCli) -> None:
    shown = text_of(run_cli, *args)
    assert all(re.search(rf"│ {command} +\S", shown) for command in COMMANDS)


def test_help_groups_the_commands(run_cli: RunCli) -> None:
    panels = panels_of(text_of(run_cli, "--help"))
    assert {name: " ".join(re.findall(r"│ ([a-z-]+) +\S", panels[name])) for name in PANELS} == PANELS
    assert list(panels) == ["Options", *PANELS]


ROWS = ("find", "heatmap", "highlight", "segments")
"""Commands that read the rows of chosen tokens."""


@pytest.mark.parametrize(
    "command",
    [
        "attribute",
        "faithfulness",
        "find",
        "flow",
        "heads",
        "heatmap",
        "highlight",
        "importance",
        "log",
        "patterns",
        "prune",
        "qk-map",
        "segments",
        "stats",
        "view",
    ],
)
def test_all_commands_of_runs_have_every_option_in_its_group(command: str, run_cli: RunCli) -> None:
    shown = text_of(run_cli, command, "--help")
    for panel, options in GROUPS.items():
        more = {"--rows-as"} if panel == "Selection" and command in ROWS else set()
        assert set(re.findall(r"│ (--[a-z-]+)", panels_of(shown)[panel])) == set(options.split()) | more, panel


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_ends_in_an_example_that_runs(command: str, run_cli: RunCli, repo: Path) -> None:
    Path("configs").symlink_to(repo / "configs")
    page = text_of(run_cli, "explain", command)
    examples = re.findall(r"^Example: attncli (.+)$", page, re.MULTILINE)
    assert len(examples) == 1
    assert "Example: attncli" in text_of(run_cli, command, "--help")
    if f"attncli {examples[0]}\n" in (repo / "README.md").read_text(encoding="utf-8"):
        return  # test_readme.py runs it
    done = run_cli(*shlex.split(examples[0]))
    assert done.code == 0
    assert [line for line in done.err.splitlines() if not line.startswith("note: ")] == []
    assert done.out
    for path in Path("outputs").rglob("stats.csv"):
        assert np.isfinite(pd.read_csv(path)["entropy"]).all()


def test_the_example_of_the_top_help_runs(run_cli: RunCli) -> None:
    (example,) = re.findall(r"Example: attncli (.+)", text_of(run_cli, "--help"))
    assert run_cli(*shlex.split(example)).code == 0


def test_versions_are_printed_without_loading_packages(run_cli: RunCli) -> None:
    expected = ", ".join(f"{name} {version(name)}" for name in ("attncli", "transformers", "torch"))
    assert text_of(run_cli, "--version") == expected + "\n"


def test_completion_is_offered(run_cli: RunCli) -> None:
    assert "--install-completion" in text_of(run_cli, "--help")
    env = {
        **os.environ,
        "_ATTNCLI_COMPLETE": "complete_bash",
        "COMP_WORDS": "attncli stats --metric entr",
        "COMP_CWORD": "3",
    }
    done = subprocess.run([sys.executable, "-m", "attncli"], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.split() == ["entropy", "entropy_normalized"], done.stderr
    env |= {"COMP_WORDS": "attncli heat", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "attncli"], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.split() == ["heatmap"], done.stderr


def test_the_names_of_model_heads_are_those_that_load() -> None:
    assert {*MODEL_HEADS} == {"auto", *HEADS}


# ------------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize("name", ["find.csv", "find.png", "segments.parquet", "edges.jsonl", "heads.svg"])
def test_a_table_or_picture_has_the_page_of_its_document(name: str, run_cli: RunCli) -> None:
    document = {"edges.jsonl": "edges.parquet"}.get(name, f"{name.split('.')[0]}.json")
    assert text_of(run_cli, "explain", name) == text_of(run_cli, "explain", document)


def test_a_table_with_a_page_of_its_own_keeps_it(run_cli: RunCli) -> None:
    assert text_of(run_cli, "explain", "stats.csv").startswith("stats.csv\n")
    assert "did you mean" in run_cli("explain", "fnd.csv").err


def test_explain_lists_everything_with_a_summary(run_cli: RunCli) -> None:
    shown = text_of(run_cli, "explain")
    assert {*registry.names("metrics"), *COMMANDS, "stats.json", "manifest.json", "ModelError"} <= set(names())
    for name in names():
        assert re.search(rf"^  {re.escape(name)} +\S", shown, re.MULTILINE), name


@pytest.mark.parametrize("name", names())
def test_everything_has_a_page(name: str, run_cli: RunCli) -> None:
    page = text_of(run_cli, "explain", name)
    assert page.startswith(f"{name}\n\n")
    assert len(page.splitlines()) > 3
    document = json.loads(text_of(run_cli, "explain", name, "--json"))
    if "$schema" in document:  # the schema of a file that people write
        jsonschema.Draft202012Validator.check_schema(document)
    else:
        assert document["page"] == page.rstrip("\n")


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_the_page_of_a_metric_says_what_is_needed(name: str, run_cli: RunCli) -> None:
    page = text_of(run_cli, "explain", name)
    assert all(re.search(rf"^{word} ", page, re.MULTILINE) for word in ("Formula", "Axes", "Unit", "Source"))


def test_the_pages_of_files_name_what_is_in_them(run_cli: RunCli) -> None:
    text = "The cat sat."
    found = json.loads(text_of(run_cli, "stats", "-t", text, "--json", "--per-query", "--out", "here"))
    page = text_of(run_cli, "explain", "stats.json")
    assert set(found) <= set(re.findall(r'^  "(\w+)"', page, re.MULTILINE))
    assert all(f'"{name}"' in page for name in [*found["run"], *found["inputs"][0], *list(found["heads"][0])[:5]])
    manifest = json.loads(Path("here/manifest.json").read_text())
    assert set(manifest) == set(re.findall(r'^  "(\w+)"', text_of(run_cli, "explain", "manifest.json"), re.MULTILINE))


def test_the_pages_of_edges_and_profile_name_every_column(run_cli: RunCli) -> None:
    options = ("--profile", "--top-k", "2", "--format", "parquet", "--out", "here")
    assert run_cli("stats", "-t", "The cat sat.", "--metric", "sink", *options, "--quiet").code == 0
    edges, profile = (
        " ".join(text_of(run_cli, "explain", "edges.parquet").split()),
        text_of(run_cli, "explain", "profile"),
    )
    assert f"Columns: {', '.join(pq.read_schema('here/edges.parquet').names)}." in edges
    entries = re.split(r"^(\w+\.csv) ", profile, flags=re.MULTILINE)
    for name in ("received", "distance", "ends"):
        entry = " ".join(entries[entries.index(f"{name}.csv") + 1].split("\n\n")[0].split())
        assert entry.partition("Columns: ")[2].split(", ") == pq.read_schema(f"here/{name}.parquet").names
    for name in json.loads(Path("here/manifest.json").read_text())["files"]:
        if "stats" not in name["name"] and name["name"].endswith((".csv", ".png")):
            assert name["name"].replace("encoder", "<kind>") in profile


@pytest.mark.parametrize(
    ("name", "code"), [("UsageError", 2), ("ModelError", 3), ("OutputError", 4), ("CheckError", 1)]
)
def test_the_page_of_an_error_gives_its_code(name: str, code: int, run_cli: RunCli) -> None:
    assert text_of(run_cli, "explain", name).endswith(f"Exit code {code}.\n")
    assert re.search(rf"^{code} ", text_of(run_cli, "explain", "exit-codes"), re.MULTILINE)


# ---------------------------------------------------------------------------------------------- info


def test_info_says_what_a_model_offers(run_cli: RunCli) -> None:
    found = json.loads(text_of(run_cli, "info", "-m", "demo:decoder", "--json"))
    assert found["schema"] == "attncli.info/1"
    assert found["class"].startswith("Llama")
    assert found["attention"] == [{"kind": "decoder", "layers": [0, 1, 2], "heads": 8, "key_value_heads": 2}]
    assert found["capture"]["route"] == "stream"
    assert found["capture"]["reason"]
    assert found["parameters"] > 100_000
    lines = dict(line.split("\t") for line in text_of(run_cli, "info", "-m", "demo:decoder").splitlines())
    assert lines["decoder attention"] == (
        "3 layers (0-2) x 8 heads, 2 key/value heads: heads 0-3 and 4-7 share keys and values"
    )
    assert lines["longest input"] == f"{found['max_positions']} tokens"


def test_info_accepts_the_model_head_by_either_name(run_cli: RunCli) -> None:
    for name in ("--head", "--model-head"):
        assert json.loads(text_of(run_cli, "info", name, "masked-lm", "--json"))["class"] == "BertForMaskedLM"
    done = run_cli("info", "--head", "3")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --head 3 selects heads of a run, info describes the whole model: leave it out\n"


def test_info_says_which_capture_was_asked_for(run_cli: RunCli) -> None:
    found = json.loads(text_of(run_cli, "info", "--capture", "eager", "--json"))
    assert found["capture"] == {"route": "eager", "reason": "asked for with --capture eager"}
    assert list(Path().iterdir()) == []
