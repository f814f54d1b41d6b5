"""Paths, numbers and environments that no system can serve end in one short line and the right exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.text import Text as Artist

import attncli
from attncli.cli import build
from attncli.cli.command_table import all_commands, study_commands
from attncli.cli.config.rules import file_section
from attncli.cli.console import without_commands
from attncli.errors import LONGEST_ERROR, UsageError, did_you_mean, shortened
from attncli.inputs.texts import read_texts
from attncli.options import FolderOptions, InputOptions, ModelOptions, PictureOptions, SelectionOptions, key
from attncli.paths import what_is_at
from attncli.plotting.render import render
from attncli.store.foreign import open_maps
from attncli.store.tables import table_csv

if TYPE_CHECKING:
    from conftest import RunCli
    from forking import ForkServer

TEXT = ("-t", "The cat sat.")
FAST = ("--metric", "sink", "-l", "0", "--format", "csv")
PATHS = {"long name": "a" * 5000, "long path": "a/" * 2500, "NUL": "a\0b", "unknown user": "~nosuchuser/x"}
BIG = "9" * 24
READS = {"--file": 2, "--dataset": 2, "--chat": 2, "--from": 2, "--model": 3, "--tokenizer": 3, "--target-tokenizer": 3}


def refused_in_one_line(run_cli: RunCli, code: int, *args: object) -> str:
    done = run_cli(*args)
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert len(done.err) <= LONGEST_ERROR + 1
    assert "defect" not in done.err
    return done.err


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_impossible_paths_to_read(path: str, run_cli: RunCli) -> None:
    for option, code in READS.items():
        text = () if option in ("--file", "--dataset", "--chat", "--from") else TEXT
        refused_in_one_line(run_cli, code, "stats", *text, option, path)
    for command in ("run", "check"):
        refused_in_one_line(run_cli, 2, command, path)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("path", [path for name, path in PATHS.items() if name != "unknown user"])
def test_impossible_paths_to_write(path: str, run_cli: RunCli) -> None:
    assert "error: cannot write a" in refused_in_one_line(run_cli, 4, "stats", *TEXT, "--out", path)
    Path("plan.yaml").write_text(f"text: hi\nsteps: [stats: {{metric: sink}}]\nout: {json.dumps(path)}\n")
    refused_in_one_line(run_cli, 4, "run", "plan.yaml")
    page = attncli.Page("<p>")
    with pytest.raises(attncli.OutputError):
        page.save(path)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_impossible_paths_in_python_and_yaml(path: str, run_cli: RunCli) -> None:
    with pytest.raises(attncli.UsageError):
        attncli.open(path)
    with pytest.raises(attncli.ModelError):
        attncli.load(path)
    Path("plan.yaml").write_text(f"file: {json.dumps(path)}\nsteps: [stats: {{metric: sink}}]\n")
    refused_in_one_line(run_cli, 2, "run", "plan.yaml")


def test_what_is_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert [what_is_at(tmp_path / name) for name in (".", "file", "none", "file/below")] == [
        *("folder", "file", "nothing", "nothing")
    ]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        what_is_at(tmp_path / "loop")
    with pytest.raises(UsageError, match="no path contains such a character"):
        what_is_at("a\ud800")


def test_numbers_of_24_digits_are_refused(run_cli: RunCli) -> None:
    for option in ("--max-tokens", "--batch-tokens", "--top-k", "--generate"):
        said = refused_in_one_line(run_cli, 2, "stats", *TEXT, option, BIG)
        assert said == f"error: expected {option} to be at most {2**63 - 1}, got {BIG}\n"
    said = refused_in_one_line(run_cli, 2, "patterns", *TEXT, "--shuffles", BIG)
    assert said == f"error: expected --shuffles to be at most {2**63 - 1}, got {BIG}\n"
    refused_in_one_line(run_cli, 2, "stats", *TEXT, "--layer", BIG)


@pytest.mark.parametrize("device", ["meta", "xpu", "vulkan", "privateuseone"])
def test_devices_that_cannot_run_a_model(device: str, run_cli: RunCli) -> None:
    said = refused_in_one_line(run_cli, 2, "stats", *TEXT, "--device", device)
    assert said == f"error: unknown --device '{device}': expected auto, cpu, cuda, cuda:N or mps\n"


@pytest.mark.parametrize("date", ["x", BIG, "1e5"])
def test_a_date_of_the_environment_that_is_none(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    plain = render(Figure(), "pdf")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert render(Figure(), "pdf") == plain
    monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
    assert render(Figure(), "svg")
    with pytest.raises(UsageError, match=f"SOURCE_DATE_EPOCH is '{date}': expected seconds since 1970; unset it"):
        render(Figure(), "pdf")


def test_few_open_files(tmp_path: Path, forks: ForkServer) -> None:
    script = """
import resource, sys
from attncli.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
sys.exit(main(sys.argv[1:]))
"""
    command = [forks.python, "-c", script, "stats", *TEXT, *FAST]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (0, 3, 4), done.stderr
    assert done.stderr == "" or done.stderr.startswith("error: ")
    assert done.stderr.count("\n") <= 1
    assert "defect" not in done.stderr


def test_no_more_open_files_gives_advice(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    from attncli.cli.commands import info

    def fail(*_: object) -> None:
        raise ImportError("libtorch.so: cannot open shared object file: Too many open files")

    monkeypatch.setattr(info, "split_heads", fail)
    said = refused_in_one_line(run_cli, 3, "info")
    assert said.startswith("error: too many open files: allow more, such as ulimit -n 1024; ")


def test_parquet_with_broken_texts_or_two_columns_of_a_name(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    binary = pa.array([b"good", b"bad \xff"], pa.binary())
    broken = pa.StringArray.from_buffers(len(binary), binary.buffers()[1], binary.buffers()[2])
    pq.write_table(pa.table({"text": broken}), tmp_path / "broken.parquet")
    with pytest.raises(UsageError, match=r"broken\.parquet, row 2 is not UTF-8 \(invalid start byte\)"):
        list(read_texts(tmp_path / "broken.parquet"))
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(UsageError, match=r"has 2 columns named 'text': rename all but one"):
        list(read_texts(tmp_path / "twice.parquet"))


def test_a_label_that_is_half_a_character_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", np.eye(2, dtype=np.float32))
    (tmp_path / "labels.json").write_text('["a", "\\ud800"]')
    with pytest.raises(UsageError, match=r"labels\.json, label 1: expected characters, got U\+D800"):
        open_maps(tmp_path / "maps.npy", tmp_path / "labels.json")


@pytest.mark.parametrize("args", [["{}"], ["stats", "--metric", "{}"], ["stats", "--{}"], ["explain", "{}"]], ids=str)
def test_an_error_line_is_short_whatever_was_typed(args: list[str], run_cli: RunCli) -> None:
    for value in ("x" * 859_000, "a b " * 200_000, "\u202e" * 100_000):
        refused_in_one_line(run_cli, 2, *(arg.replace("{}", value) for arg in args))


def test_a_short_line_keeps_its_end() -> None:
    assert shortened("short", 5) == "short"
    line = shortened(f"no such file: /{'a' * 5000}/name.txt; give another", LONGEST_ERROR)
    assert line.startswith("no such file: /aaa")
    assert line.endswith("aaa/name.txt; give another")
    assert len(line) < 200
    assert did_you_mean("zzz", ["name" * 10] * 50).endswith(" and 43 more")


draw = Artist.draw
COMMAND = "::add-mask::secret"


def test_no_text_is_a_command_of_github(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_commands(COMMAND) == COMMAND
    assert table_csv({"name": np.array([COMMAND], dtype=object)}) == f'name\n"{COMMAND}"\n'
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    texts = [COMMAND, f" \t{COMMAND}", f"a\n{COMMAND}", f"a\r {COMMAND}", "x ##[add-mask]secret"]
    for text in texts:
        safe = without_commands(text)
        assert not any(line.strip().startswith("::") for line in safe.splitlines())
        assert "##[" not in safe
    assert without_commands("a::b") == "a::b"
    labels = json.dumps([COMMAND, f"a\n{COMMAND}", "##[add-mask]secret"])
    Path("labels.json").write_text(labels)
    np.save("maps.npy", np.eye(3, dtype=np.float32))
    source = ("--from", "maps.npy", "--labels", "labels.json")
    for more in ((), ("--json",), ("--per-query",), ("--per-query", "--json")):
        done = run_cli("stats", *source, "--metric", "sink", "--format", "csv", "--force", *more)
        assert done.code == 0, done.err
        assert not any(line.strip().startswith("::") or "##[" in line for line in (done.out + done.err).splitlines())
    document = json.loads(run_cli("stats", *source, "--metric", "sink", "--json", "--format", "csv").out)
    assert document["inputs"][0]["queries"] == json.loads(labels)
    picture = run_cli("heatmap", *source, "-l", "0", "-H", "0", "--out", COMMAND)
    assert picture.out == "\\u003a:add-mask::secret/encoder-L00-H00.png\n"


@pytest.fixture
def private(tmp_path: Path, repo: Path) -> Path:
    """A folder of this machine with a model and files of all kinds that commands read."""
    folder = tmp_path / "private" / "runs"
    folder.mkdir(parents=True)
    for name in ("encoder", "seq2seq"):
        (folder / name).symlink_to(repo / "attncli" / "demo" / name)
    (folder / "texts.txt").write_text("The cat sat.\n")
    (folder / "parts.json").write_text('{"first": [{"tokens": [1, 2]}], "second": [{"tokens": [3, 4]}]}')
    (folder / "cases.jsonl").write_text('{"text": "The cat sat", "from": "cat", "to": "The"}\n')
    np.save(folder / "maps.npy", np.full((2, 3, 3), 1 / 3, dtype=np.float32))
    (folder / "labels.txt").write_text("a\nb\nc\n")
    (folder / "rules.yaml").write_text(
        f"model: {folder / 'encoder'}\ntokenizer: {folder / 'encoder'}\nbaseline: {{file: {folder / 'base.json'}}}\n"
        f"rules:\n- {{text: The cat, from: cat, to: The, min: 0.99, heads: '0.0'}}\n"
        f"suites:\n- {{file: {folder / 'cases.jsonl'}, heads: '0.0', min: 0.99, min-rate: 0.5}}\n"
    )
    (folder / "plan.yaml").write_text(
        f"models: [{{model: {folder / 'encoder'}}}]\nfile: {folder / 'texts.txt'}\n"
        f"steps: [segments: {{segments: {folder / 'parts.json'}, format: csv, layer: 0}}]\n"
    )
    return folder


CALLS = {
    "heatmap": "SOURCE ONE --format png,svg,pdf --save-maps",
    "view": "SOURCE ONE",
    "highlight": "SOURCE ONE --focus cat --format html,svg",
    "stats": "SOURCE ONE --metric sink --top-k 1 --format csv,json,jsonl,parquet",
    "patterns": "SOURCE ONE --shuffle-seeds 0 --format csv,json",
    "heads": "SOURCE -l 0 --shuffle-seeds 0 --format csv,json",
    "log": "-m PRIVATE/encoder -t a -t b ONE --held-out PRIVATE/texts.txt --metric sink --format csv,json",
    "flow": "SOURCE --format csv,json",
    "find": "SOURCE ONE --segments private/runs/parts.json --query 1 --key 0 --format csv,json",
    "segments": "SOURCE ONE --segments private/runs/parts.json --format csv,json",
    "compare": "PRIVATE/encoder --dtype-b bfloat16 -f PRIVATE/texts.txt ONE --metric sink --format csv,json",
    "importance": "SOURCE -l 0 --format csv,json",
    "prune": "-m PRIVATE/encoder --rank-file PRIVATE/texts.txt -t a --heads 1 --save TMP/pruned --format csv,json",
    "knockout": "-m PRIVATE/seq2seq -t a --target b --kind cross --format csv,json",
    "qk-map": "SOURCE ONE --format csv,json",
    "faithfulness": "-m PRIVATE/seq2seq -t a.b.c --target b --method attention --removal delete --format csv,json",
    "attribute": "-m PRIVATE/seq2seq -t a --target b --method rollout --format csv,json",
    "check": "PRIVATE/rules.yaml --record --junit check/junit.xml",
    "check-again": "PRIVATE/rules.yaml --junit check-again/junit.xml --format jsonl",
    "run": "PRIVATE/plan.yaml",
    "stats-maps": "--from PRIVATE/maps.npy --labels PRIVATE/labels.txt --metric sink",
    "stats-seq2seq": "-m PRIVATE/seq2seq --target-tokenizer PRIVATE/seq2seq -t a --target b --metric sink",
    "view-saved": "--from TMP/heatmap",
    "compare-saved": "TMP/heatmap TMP/heatmap --metric sink --format json",
}


def test_folders_of_this_machine_stay_in_the_manifest(
    run_cli: RunCli, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(Artist, "draw", lambda text, *args: drawn.append(text.get_text()) or draw(text, *args))
    places = {
        "SOURCE": "-m PRIVATE/encoder --tokenizer PRIVATE/encoder -f PRIVATE/texts.txt",
        "ONE": "-l 0 -H 0",
        "PRIVATE": str(private),
        "TMP": str(tmp_path),
    }
    commands = {name: name if name in all_commands() else name.partition("-")[0] for name in CALLS}
    assert {*commands.values()} == {*all_commands()} - {"info", "explain"}
    for name, call in CALLS.items():
        for place, value in places.items():
            call = call.replace(place, value)
        done = run_cli(commands[name], *call.split(), "--out", name)
        assert done.code == (1 if name.startswith("check") else 0), done.err
        files = {path: path.read_bytes() for path in Path(name).rglob("*.*")}
        assert str(tmp_path).encode() in files.pop(Path(name, "manifest.json"))
        told = [path for path, data in files.items() if str(tmp_path).encode() in data and path.name != "manifest.json"]
        assert (name, told) == (name, [])
    assert len(drawn) > 100
    assert [text for text in drawn if str(tmp_path) in text] == []
    document = json.loads(Path("stats/stats.json").read_text())
    assert (document["run"]["model"], document["run"]["resolved"]["tokenizer"]) == ("…/runs/encoder", "…/runs/encoder")
    document = json.loads(Path("check/check.json").read_text())
    assert document["file"] == "…/runs/rules.yaml"
    assert document["run"]["resolved"]["rules"]["suites"][0]["file"] == "…/runs/cases.jsonl"
    assert 'file="private/runs/rules.yaml" line=' in Path("check/junit.xml").read_text()


# ----------------------------------------------------------------- every option of every command, and every key

HOSTILE_VALUES = {**PATHS, "24 digits": BIG, "negative": f"-{BIG}", "half a character": "a\ud800"}
ANY_TEXT = ("--text", "--pair", "--target", "--against-text", "--revision", "--revision-b", "--title")
"""Options that take any text: they are tried with half a character only, as others would run the whole command."""
ONE_HEAD = "-t hi -l 0 -H 0 --format csv"
BASES = {
    "check": "rules.yaml",
    "compare": f"--dtype-b bfloat16 --metric sink {ONE_HEAD}",
    "explain": "",
    "info": "",
    "run": "plan.yaml",
    "heatmap": "-t hi -l 0 -H 0 --format svg",
    "highlight": "-t hi -l 0 -H 0 --focus hi --format html",
    "log": f"--metric sink --probe-length 0 {ONE_HEAD}",
    "patterns": "--probe repeated --length 2 --seeds 1 --format csv",
    "stats": f"--metric sink {ONE_HEAD}",
    "view": "-t hi -l 0 -H 0",
}
"""A quick call of each command; of the others `ONE_HEAD`."""


def options_by_command() -> dict[str, list[str]]:
    """Return the options with a value of each command, without dashes; those that commands share, of the first only."""
    commands = build().commands
    options: dict[str, list[str]] = {name: [] for name in commands}
    seen: set[tuple[str, str]] = set()
    for name in ("stats", *commands):
        for parameter in commands[name].params:
            option = next((option for option in parameter.opts if option.startswith("--")), None)
            if option and not parameter.is_flag and (option, parameter.help) not in seen:
                seen.add((option, parameter.help))
                options[name].append(option.removeprefix("--"))
    return {name: names for name, names in options.items() if names}


OPTIONS = options_by_command()


def ends_in_one_line(run_cli: RunCli, *args: str) -> bool:
    """Return whether a command is done or ends with one short error that is not called a defect."""
    done = run_cli(*args)
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    short = all(len(line) <= LONGEST_ERROR for line in done.err.splitlines())
    return done.code in (0, 2, 3, 4) and len(errors) == (done.code > 0) and short and "defect" not in done.err


EXTENT = pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=pytest.mark.real)], ids=["one value each", "all values"]
)
"""Each option and key with one value, the values in turn; with all of them it takes minutes."""


def tried(names: Sequence[str], whole: bool) -> Iterator[tuple[str, str]]:
    """Yield options or keys without dashes, each with the names of the values that it is tried with."""
    for number, name in enumerate(names):
        values = ["half a character"] if f"--{name}" in ANY_TEXT else list(HOSTILE_VALUES)
        for value in values if whole else [values[number % len(values)]]:
            yield name, value


@EXTENT
@pytest.mark.parametrize("command", OPTIONS)
def test_hostile_values_of_options(command: str, whole: bool, run_cli: RunCli) -> None:
    Path("rules.yaml").write_text("rules: [{text: hi, from: hi, to: hi, min: 0.0}]\n")
    Path("plan.yaml").write_text("text: hi\nsteps: [stats: {metric: sink, format: csv}]\n")
    base = BASES.get(command, ONE_HEAD).split()
    wrong = []
    for option, name in tried(OPTIONS[command], whole):
        given = base[2:] if option in ("file", "dataset", "chat", "from") else base  # without `-t hi`
        if not ends_in_one_line(run_cli, command, *given, f"--{option}={HOSTILE_VALUES[name]}"):
            wrong.append((option, name))
    assert wrong == []


@EXTENT
@pytest.mark.parametrize("command", sorted({"": 0, **study_commands()}))
def test_hostile_values_of_keys_of_a_file(command: str, whole: bool, run_cli: RunCli) -> None:
    shared = [ModelOptions, InputOptions, SelectionOptions, PictureOptions, FolderOptions]
    groups = [group for group in study_commands()[command] if group is not PictureOptions] if command else shared
    keys = [key(option.name) for group in groups for option in fields(group)]
    wrong = []
    for option, name in tried(keys, whole):
        plan: dict[str, Any] = {"text": "hi", "layer": "0", "head": "0", "out": "out"}
        step: dict[str, Any] = {"format": "html" if command in ("view", "highlight") else "csv"}
        if option in ("file", "dataset", "chat"):
            del plan["text"]
        if command:
            step[option] = HOSTILE_VALUES[name]
        else:
            step["metric"], plan[option] = "sink", HOSTILE_VALUES[name]
        plan["steps"] = [{command or "stats": step}]
        Path("plan.yaml").write_text(json.dumps(plan))
        if not ends_in_one_line(run_cli, "run", "plan.yaml", "--force"):
            wrong.append((option, name))
    assert wrong == []


@pytest.mark.parametrize("command", ["check", "compare", "explain", "run"])
def test_hostile_values_without_an_option(command: str, run_cli: RunCli) -> None:
    texts = ("-t", "hi") if command == "compare" else ()
    wrong = [name for name, value in HOSTILE_VALUES.items() if not ends_in_one_line(run_cli, command, value, *texts)]
    assert wrong == []


@EXTENT
def test_hostile_values_of_keys_of_rules(whole: bool, run_cli: RunCli) -> None:
    rule = {"text": "hi", "from": "hi", "to": "hi", "min": "0.0"}
    section = file_section()
    places = [field.alias or name for name, field in section.model_fields.items()]
    files: list[dict[str, Any]] = [{"rules": [rule], place: "VALUE"} for place in places if place != "rules"]
    files += [{"rules": [{**rule, place: "VALUE"}]} for place in (*rule, "than", "above", "heads", "kind", "name")]
    files += [{"rules": [rule], "baseline": {place: "VALUE"}} for place in ("file", "absolute", "relative")]
    files += [{"rules": [rule], "suites": [{"file": "VALUE", "min-rate": "0.5"}]}, {"rules": ["VALUE"]}]
    wrong = []
    for file, name in tried([json.dumps(file) for file in files], whole):
        Path("rules.yaml").write_text(file.replace('"VALUE"', json.dumps(HOSTILE_VALUES[name])))
        done = run_cli("check", "rules.yaml", "-o", "out", "--force")
        short = all(len(line) <= LONGEST_ERROR for line in done.err.splitlines())
        if done.code not in (0, 1, 2, 3, 4) or "defect" in done.err or not short:
            wrong.append((file, name))
    assert wrong == []
