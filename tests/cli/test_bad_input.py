"""Each wrong call ends in one line: what was expected, what was got, what to do; nothing is half written."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hostile import HOSTILE

from attncli.store import files

if TYPE_CHECKING:
    from conftest import RunCli

T = ("-t", "The cat sat.")
NO_TEXT = 'there is no text to read: give --text "…", or --file PATH (--file - is stdin)'
HEADS = "expected head numbers such as all, 3, -1 or 0,2,5-7, or a model head; "

CALLS: list[tuple[list[str], int, str]] = [
    # the call itself
    (["hetmap"], 2, "unknown command 'hetmap': did you mean 'heatmap'?"),
    (
        ["heatmap", "--txt", "x"],
        2,
        "unknown option '--txt' of attncli heatmap: did you mean '--text' or '--title' or '--text-file'?",
    ),
    (["heatmap", "--zzzzzz"], 2, "unknown option '--zzzzzz' of attncli heatmap: see attncli heatmap --help"),
    (["--zzzzzz"], 2, "unknown option '--zzzzzz' of attncli: see attncli --help"),
    (["stats", "--text"], 2, "option '--text' requires an argument; see attncli stats --help"),
    (["stats", "a text"], 2, "got unexpected extra argument(s) (a text); see attncli stats --help"),
    (
        ["stats", "--file", "a.txt", "b.txt"],
        *(2, "got unexpected extra argument(s) (b.txt): put a pattern such as 'corpus/*.txt' in quotes"),
    ),
    # the text
    (["heatmap"], 2, NO_TEXT),
    (["stats"], 2, NO_TEXT),
    (["heatmap", "-t", ""], 2, "--text is empty: give at least one word"),
    (["heatmap", "-t", " \n\t"], 2, "--text is empty: give at least one word"),
    (["heatmap", *T, "--pair", " "], 2, "--pair is empty: give at least one word"),
    (["heatmap", *T, *T, "--pair", "x"], 2, "--pair goes with one text, got 2: run them one by one"),
    (["heatmap", *T, *T, "--target", "x"], 2, "--target goes with one text, got 2: run them one by one"),
    (["heatmap", *T, "--file", "x"], 2, "--text and --file exclude each other: give one of them"),
    (["heatmap", "--file", "x", "--chat", "y"], 2, "--file and --chat exclude each other: give one of them"),
    (["heatmap", "-f", "x", "--pair", "y"], 2, "--pair goes with --text, not with --file: leave one of them out"),
    (["heatmap", "--chat", "x", "--pair", "y"], 2, "--pair goes with --text, not with --chat: leave one of them out"),
    (["heatmap", *T, "--column", "x"], 2, "--column goes with --file or --dataset: give one of them too"),
    (["heatmap", *T, "--split", "x"], 2, "--split goes with --dataset: give it too"),
    (["heatmap", *T, "--on-error", "skip"], 2, "--on-error goes with --file or --dataset: give one of them too"),
    (
        ["heatmap", "--dataset", "x", "--pair", "y"],
        2,
        "--pair goes with --text, not with --dataset: leave one of them out",
    ),
    (["heatmap", "-f", "x", "--on-error", "go"], 2, "unknown --on-error 'go': expected stop or skip"),
    (["heatmap", "-f", "nowhere.txt"], 2, "no such file: nowhere.txt"),
    (["heatmap", *T, "--max-tokens", "0"], 2, "expected --max-tokens to be a number from 1 up, got 0"),
    (["stats", *T, "--batch-tokens", "0"], 2, "expected --batch-tokens to be a number from 1 up, got 0"),
    (["heatmap", *T, "--generate", "-1"], 2, "expected --generate to be a number from 0 up, got -1"),
    (
        ["heatmap", *T, "--target", "x"],
        *(2, "--target needs a model with encoder and decoder, demo:encoder has only one of them"),
    ),
    (["heatmap", "-f", "-"], 2, "stdin contains no text: expected at least one that is not blank"),
    # a part of it, and how fine
    (["heatmap", *T, "--resolution", "0"], 2, "expected --resolution to be a number from 1 up, got 0"),
    (["heatmap", *T, "--rows", "5-20"], 2, "--rows 5-20 is outside the text: it has 7 query tokens, 0-6"),
    (["heatmap", *T, "--keys", "7"], 2, "--keys 7 is outside the text: it has 7 key tokens, 0-6"),
    (["heatmap", *T, "--save-maps", "--keys", "-8"], 2, "--keys -8 is outside the text: it has 7 key tokens, 0-6"),
    (["heatmap", *T, "--words", "--rows", "6"], 2, "--rows 6 is outside the text: it has 6 query tokens, 0-5"),
    (
        ["heatmap", *T, "-t", "Once upon a time.", "--rows", "6-7"],
        *(2, "text 0: --rows 6-7 is outside the text: it has 7 query tokens, 0-6"),
    ),
    (["heatmap", *T, "--rows", "3-1"], 2, "--rows 3-1 ends before it begins: write the smaller number first"),
    (
        ["heatmap", *T, "--rows", "1,3"],
        2,
        "'1,3' does not occur in the text: there are [CLS], The, cat, sat, ., [SEP]; segments: special",
    ),
    (["heatmap", *T, "--pool", "maxx"], 2, "unknown --pool 'maxx': did you mean 'max'?"),
    # the focus
    (
        ["highlight", *T],
        *(2, "--focus is missing: it says which word is the focus, such as --focus The; the text has The, cat, sat"),
    ),
    (["highlight"], 2, NO_TEXT),
    (["highlight", *T, "--focus", "cta"], 2, "'cta' does not occur in the text: did you mean 'cat'?"),
    (
        ["highlight", *T, "--focus", "zzz"],
        *(2, "'zzz' does not occur in the text: there are [CLS], The, cat, sat, ., [SEP]; segments: special"),
    ),
    (["highlight", *T, "--focus", "cat#2"], 2, "'cat' occurs once, so there is no cat#2: counted from 1"),
    (["highlight", *T, "--focus", "7"], 2, "--focus 7 is outside the text: it has 7 tokens, 0-6"),
    (
        ["highlight", *T, "--focus", " "],
        *(2, "--focus is empty: give a word of the text, the position of a token, a segment or all"),
    ),
    (
        ["highlight", *T, "--focus", "[CLS]", "--special", "drop"],
        *(2, "'[CLS]' does not occur in the text: there are The, cat, sat, ."),
    ),
    (["highlight", *T, "--focus", "cat", "--direction", "form"], 2, "unknown --direction 'form': did you mean 'from'?"),
    (["highlight", *T, "--focus", "cat", "--format", "htm"], 2, "unknown --format 'htm': did you mean 'html'?"),
    (
        ["highlight", "--from", "nowhere", "--focus", "cat"],
        2,
        "expected the folder of a saved run, but nowhere does not exist: give a folder with manifest.json",
    ),
    # the way through the layers
    (["flow"], 2, NO_TEXT),
    (["flow", *T, "--focus", "cta"], 2, "'cta' does not occur in the text: did you mean 'cat'?"),
    (["flow", *T, "--focus", "7"], 2, "--focus 7 is outside the text: it has 7 tokens, 0-6"),
    (["flow", *T, "--method", "roll"], 2, "unknown --method 'roll': did you mean 'rollout'?"),
    (["flow", *T, "--start-layer", "4"], 2, "--start-layer 4 leaves no encoder layer: layers are 0-3"),
    (["flow", *T, "--start-layer", "-1"], 2, "expected --start-layer to be a number from 0 up, got -1"),
    (["flow", *T, "--threshold", "0"], 2, "expected --threshold to be above 0 and at most 1, got 0.0"),
    (
        ["flow", *T, "--format", "html"],
        2,
        "unknown --format 'html': known are: csv, json, jsonl, parquet, pdf, png, svg",
    ),
    (["flow", *T, "--kind", "cross"], 2, "demo:encoder has no cross attention; it has: encoder"),
    (["flow", *T, "--aggregate-layers", "mean"], 2, "flow goes from layer to layer: leave out --aggregate-layers"),
    (
        ["flow", *T, "--aggregate", "men"],
        2,
        "expected --aggregate to be mean, max or weights:FILE, got 'men': flow goes through one map a layer",
    ),
    (
        ["flow", "--from", "nowhere"],
        2,
        "expected the folder of a saved run, but nowhere does not exist: give a folder with manifest.json",
    ),
    # the selection
    (["heatmap", *T, "-l", "9"], 2, "layer 9 does not exist: encoder has layers 0-3"),
    (["heatmap", *T, "-l", "0", "-H", "4"], 2, "head 4 does not exist: encoder layer 0 has heads 0-3"),
    (["heatmap", *T, "-l", "x"], 2, "expected --layer like all, 3, -1 or 0,2,5-7 (counted from 0), got 'x'"),
    (["heatmap", *T, "-H", "caus"], 2, f"unknown --head 'caus': {HEADS}did you mean 'causal-lm'?"),
    (["heatmap", *T, "--model-head", "bas"], 2, "unknown --model-head 'bas': did you mean 'base'?"),
    (
        ["heatmap", *T, "--model-head", "base", "-H", "causal-lm"],
        *(2, "--head causal-lm and --model-head base contradict each other: give one"),
    ),
    (["heatmap", *T, "--kind", "cross"], 2, "demo:encoder has no cross attention; it has: encoder"),
    (["heatmap", *T, "--kind", "enc"], 2, "unknown --kind 'enc': did you mean 'encoder'?"),
    (["heatmap", *T, "--aggregate", "men"], 2, "unknown --aggregate 'men': did you mean 'mean'?"),
    (["heatmap", *T, "--special", "dro"], 2, "unknown --special 'dro': did you mean 'drop'?"),
    (["stats", *T, "--metric", "entrpy"], 2, "unknown metric 'entrpy': did you mean 'entropy'?"),
    # the output
    (["heatmap", *T, "--format", "jpg"], 2, "unknown --format 'jpg': did you mean 'png'?"),
    (
        ["stats", *T, "--format", "xls"],
        2,
        "unknown --format 'xls': known are: csv, json, jsonl, parquet, pdf, png, svg",
    ),
    (["heatmap", *T, "--scale", "shard"], 2, "unknown --scale 'shard': did you mean 'shared'?"),
    (["heatmap", *T, "--grid", "--each"], 2, "--grid and --each exclude each other: give one of them"),
    (["heatmap", *T, "--max-memory", "much"], 2, "expected --max-memory like 500MB, 4GB or 1.5GiB, got 'much'"),
    (
        ["heatmap", *T, "--layout", "query,key,head"],
        *(2, "--maps-format and --layout say how --save-maps writes, which is not given"),
    ),
    (
        ["heatmap", *T, "--save-maps", "--layout", "key"],
        *(2, "unknown --layout 'key': known are: layer,head,query,key, query,key,head"),
    ),
    (
        ["heatmap", *T, "--save-maps", "--maps-format", "npy"],
        *(2, "unknown --maps-format 'npy': did you mean 'npz'?"),
    ),
    # again
    (
        ["heatmap", "--from", "x", *T],
        *(2, "--from takes the place of a model and a text: leave out --text"),
    ),
    (
        ["heatmap", "--from", "x", "-m", "demo:encoder"],
        *(2, "--from takes the place of a model and a text: leave out --model"),
    ),
    (["heatmap", *T, "--labels", "x"], 2, "--labels goes with --from, which is not given"),
    (
        ["heatmap", "--from", "nowhere"],
        *(2, "expected the folder of a saved run, but nowhere does not exist: give a folder with manifest.json"),
    ),
    (["heatmap", "--from", "nowhere.npz"], 2, "no such file: nowhere.npz"),
    # the model
    (
        ["info", "-m", "demo:encode"],
        3,
        "unknown demo model 'demo:encode': did you mean 'demo:encoder' or 'demo:decoder' or 'demo:seq2seq'?",
    ),
    (["info", "-m", " "], 2, "the model's name is empty; give a folder, a hub id or demo:encoder"),
    (["info", "--capture", "steam"], 2, "unknown --capture 'steam': did you mean 'stream'?"),
    (
        ["info", "--dtype", "float23"],
        2,
        "unknown --dtype 'float23': did you mean 'float32' or 'float16' or 'bfloat16'?",
    ),
    (["explain", "entrpy"], 2, "nothing is called 'entrpy': did you mean 'entropy'?"),
]


@pytest.mark.parametrize(("args", "code", "said"), CALLS, ids=[" ".join(args) for args, _, _ in CALLS])
def test_the_line_and_the_code(args: list[str], code: int, said: str, run_cli: RunCli) -> None:
    done = run_cli(*args)
    assert (done.code, done.out, done.err) == (code, "", f"error: {said}\n")
    assert list(Path().iterdir()) == []


def refused(run_cli: RunCli, *args: object, code: int = 2) -> str:
    """The one line of an error; nothing was written beside what was there."""
    before = sorted(Path().rglob("*"))
    done = run_cli(*args)
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return done.err


def test_one_token_is_measured(run_tables: RunCli) -> None:
    done = run_tables("stats", "-t", "x", "-m", "demo:decoder", "--max-tokens", "1", "-l", "0")
    assert done.code == 0, done.err


def test_a_text_longer_than_the_model(run_tables: RunCli) -> None:
    said = refused(run_tables, "heatmap", "-t", "word " * 2000)
    assert "the model reads at most 512" in said
    assert "--max-tokens 512" in said
    assert run_tables("stats", "-t", "word " * 2000, "--max-tokens", "512", "--metric", "entropy").code == 0


@pytest.mark.parametrize(
    ("name", "data", "options", "said"),
    [
        ("a.txt", b"", [], "a.txt contains no text"),
        ("a.txt", b"\n  \n", [], "a.txt contains no text"),
        ("a.txt", b"caf\xe9", [], "a.txt is not UTF-8 (0xe9 at byte 3, line 1)"),
        ("a.csv", b"body\nx\n", [], "text"),
        ("a.csv", b"body\nx\n", ["--column", "bodi"], "did you mean 'body'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', [], "a.jsonl"),
        ("a.txt", b"x", ["--column", "text"], "a.txt has no columns"),
    ],
)
def test_broken_files(name: str, data: bytes, options: list[str], said: str, run_tables: RunCli) -> None:
    Path(name).write_bytes(data)
    assert said in refused(run_tables, "stats", "--file", name, *options)


def test_broken_chats(run_tables: RunCli) -> None:
    Path("chat.json").write_text("[{]")
    assert "chat.json is not JSON (line 1, column 3)" in refused(run_tables, "stats", "--chat", "chat.json")
    Path("chat.json").write_text('[{"role": "user", "content": "hello"}]')
    said = refused(run_tables, "stats", "--chat", "chat.json", code=3)
    assert "has no chat template; give --text instead of --chat" in said


Breakage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 100), "corrupt"),
        (lambda folder: [path.unlink() for path in folder.glob("token*")], "tokenizer"),
    ],
    ids=["weights", "config", "corrupt", "tokenizer"],
)
def test_broken_model_folders(break_it: Breakage, said: str, run_cli: RunCli, demo_dirs: dict[str, Path]) -> None:
    shutil.copytree(demo_dirs["encoder"], "model")
    break_it(Path("model"))
    assert said in refused(run_cli, "heatmap", "-m", "./model", *T, code=3)


def test_a_model_that_is_not_there(run_cli: RunCli) -> None:
    assert "cannot be reached" in refused(run_cli, "heatmap", "-m", "nobody/nothing", *T, code=3)


def test_a_prompt_that_leaves_no_room_for_an_answer(run_tables: RunCli) -> None:
    said = refused(run_tables, "stats", "-m", "demo:decoder", "-t", "one two", "--generate", "3000")
    assert "with --generate 3000 that makes" in said
    assert "the model reads at most 2048; shorten it or pass a smaller --generate" in said


def test_a_text_that_is_longer_than_the_positions(run_tables: RunCli) -> None:
    said = refused(run_tables, "stats", "-t", "cat " * 600)
    assert said.endswith("the model reads at most 512; shorten it or pass --max-tokens 512\n")
    assert run_tables("stats", "-t", "cat " * 600, "--max-tokens", "512", "--metric", "sink").code == 0


def test_generating_with_an_encoder(run_cli: RunCli) -> None:
    assert "cannot generate text" in refused(run_cli, "heatmap", *T, "--generate", "3", code=3)


def test_folders_that_are_no_runs(run_cli: RunCli) -> None:
    Path("empty").mkdir()
    assert "empty is not a run of attncli" in refused(run_cli, "heatmap", "--from", "empty")
    assert run_cli("stats", *T, "--metric", "sink", "--out", "bare").code == 0
    assert "has no maps: run 'stats' again with --save-maps" in refused(run_cli, "heatmap", "--from", "bare")
    assert run_cli("heatmap", *T, "-l", "0", "-H", "0", "--out", "run", "--save-maps").code == 0
    manifest = json.loads(Path("run/manifest.json").read_text())
    Path("run/manifest.json").write_text(json.dumps({**manifest, "schema": "attncli.run/99"}))
    assert "has format 99" in refused(run_cli, "heatmap", "--from", "run")
    assert "a saved run has its own labels" in refused(run_cli, "heatmap", "--from", "run", "--labels", "x")


def test_maps_that_are_no_attention(run_cli: RunCli) -> None:
    np.save("maps.npy", np.ones((2, 3, 3), np.float32))
    assert "rows that sum to 1 or less" in refused(run_cli, "heatmap", "--from", "maps.npy")
    np.save("maps.npy", np.ones(3, np.float32))
    assert "expected 2 to 5 axes" in refused(run_cli, "heatmap", "--from", "maps.npy")
    np.save("maps.npy", np.eye(3, dtype=np.float32))
    Path("labels.txt").write_text("a\nb\n")
    said = refused(run_cli, "heatmap", "--from", "maps.npy", "--labels", "labels.txt")
    assert "expected one label for each of the 3" in said


def test_outputs_that_are_not_ours(run_cli: RunCli) -> None:
    Path("file").write_text("")
    assert "file is a file" in refused(run_cli, "heatmap", *T, "--out", "file", code=4)
    assert "file is a file" in refused(run_cli, "heatmap", *T, "--out", "file/below", code=4)
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("")
    said = refused(run_cli, "heatmap", *T, "--out", "mine", code=4)
    assert "mine contains files that attncli did not write (thesis.txt)" in said


def test_a_full_disk_leaves_what_was_whole(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = files.os.fsync, []

    def full_at_last(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full_at_last)
    done = run_cli("heatmap", *T, "-l", "0", "--each", "--out", "here")
    assert done.code == 4
    assert done.err == (
        "error: cannot write here/encoder-L00-H01.png: No space left on device; "
        "free some space or choose another folder with --out\n"
    )
    assert done.out == "here/encoder-L00-H00.png\n"
    assert sorted(path.name for path in Path("here").iterdir()) == ["encoder-L00-H00.png", "manifest.json"]
    assert json.loads(Path("here/manifest.json").read_text())["complete"] is False
    assert Path("here/encoder-L00-H00.png").read_bytes().endswith(b"IEND\xaeB`\x82")


def test_memory_is_foretold(run_cli: RunCli) -> None:
    said = refused(run_cli, "heatmap", *T, "--max-memory", "1kB")
    assert said == (
        "error: this run would keep 3.2 kB of attention maps (longest text: 7 tokens), allowed are 1 kB "
        "(--max-memory); keep less with --layer 0, --head 0, --aggregate mean, --max-tokens 512, "
        "or allow more with --max-memory\n"
    )
    assert run_cli("heatmap", *T, "--max-memory", "1kB", "-l", "0", "-H", "0").code == 0
    assert run_cli("stats", *T, "--metric", "sink", "--max-memory", "1kB").code == 0
    assert "would keep" in refused(run_cli, "stats", *T, "--max-memory", "1kB", "--save-maps")


@pytest.mark.parametrize("command", ["heatmap", "stats"])
def test_hostile_texts_go_through_every_writer(command: str, run_cli: RunCli) -> None:
    texts = [text for text in HOSTILE if text.strip() and text.isprintable()]
    options = ["--per-query", "--format", "jsonl,parquet"] if command == "stats" else ["--format", "svg,png"]
    done = run_cli(
        command, "-t", " ".join(texts), "--save-maps", "--out", "here", "--json", "-l", "0", "-H", "0", *options
    )
    assert done.code == 0, done.err
    json.loads(done.out)
    again = run_cli("stats", "--from", "here", "--metric", "sink", "--json", "--out", "again")
    assert json.loads(again.out)["inputs"][0]["text"] == " ".join(texts)


def test_an_error_cannot_steer_the_terminal(run_cli: RunCli) -> None:
    said = refused(run_cli, "heatmap", "-f", "\x1b[31m\u202e[bold]x")
    assert said == "error: no such file: \\x1b[31m\\u202e[bold]x\n"


def test_half_surrogates_are_refused(run_cli: RunCli) -> None:
    assert "half a surrogate pair" in refused(run_cli, "heatmap", "-t", "a\udcff")


def test_debug_adds_the_traceback(run_cli: RunCli) -> None:
    done = run_cli("heatmap", "-t", "", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.endswith("\nerror: --text is empty: give at least one word\n")


def test_python_without_docstrings_is_refused(repo: Path) -> None:
    flags = {"-OO": 2, "-O": 0}
    for flag, code in flags.items():
        command = [sys.executable, flag, "-m", "attncli", "--version"]
        result = subprocess.run(command, capture_output=True, text=True, cwd=repo, check=False)
        assert result.returncode == code, result.stderr
        assert ("error: python -OO (PYTHONOPTIMIZE=2) removes the docstrings" in result.stderr) == (code == 2)
    program = (
        "import attncli\ntry:\n    attncli.load('demo:encoder')\nexcept attncli.UsageError as error:\n    print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-OO", "-c", program], capture_output=True, text=True, cwd=repo, check=True
    )
    assert result.stdout.startswith("python -OO (PYTHONOPTIMIZE=2) removes the docstrings that Transformers needs")


def csv_rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_csv_safe_keeps_spreadsheets_from_running_cells(run_cli: RunCli) -> None:
    text = "=1+1 @SUM(A1) -2 +3 a=b"
    options = ("-t", text, "--metric", "entropy", "--per-query", "-l", "0", "-H", "0", "--format", "jsonl")
    for command, flags in (("plain", ()), ("safe", ("--csv-safe",))):
        done = run_cli("stats", *options, *flags, "-o", command)
        assert (done.code, done.out) == (0, Path(command, "stats.csv").read_text())
    plain, safe = (csv_rows(Path(folder, "stats-tokens.csv")) for folder in ("plain", "safe"))
    starts = ("=", "+", "-", "@")
    assert sum(cell.startswith(starts) for row in plain for cell in row) >= 4
    assert [[f"'{cell}" if cell.startswith(starts) else cell for cell in row] for row in plain] == safe
    assert Path("plain/stats-tokens.jsonl").read_text() == Path("safe/stats-tokens.jsonl").read_text()
    steps = "steps: [segments: {segments: parts.json}]\ncsv-safe: true\n"
    Path("parts.json").write_text(json.dumps({"=A1": [{"tokens": [0, 3]}], "b": [{"tokens": [3, 9]}]}))
    Path("plan.yaml").write_text(f"text: '{text}'\n{steps}")
    assert run_cli("run", "plan.yaml", "-o", "plan").code == 0
    cells = [cell for path in Path("plan").rglob("*.csv") for row in csv_rows(path) for cell in row]
    assert "'=A1" in cells
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)
    Path("rules.yaml").write_text(f"texts: {{a: '{text}'}}\nrules:\n- {{name: '=A1', sink: {{max: 1}}}}\n")
    done = run_cli("check", "rules.yaml", "--csv-safe", "-q")
    assert (done.code, "'=A1" in done.out) == (0, True)
