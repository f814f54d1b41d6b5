"""Who reads what: data on stdout, talk on stderr; people, pipes, readers that go away, Ctrl-C."""

from __future__ import annotations

import json
import os
import pkgutil
import pty
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from rich.cells import cell_len

from attncli.cli import main
from attncli.cli import progress_bar as _bar

if TYPE_CHECKING:
    from conftest import RunCli
    from forking import ForkServer

TEXT = "The cat sat on the mat."


def on_terminal(folder: Path, *args: str, wait: float = 600, **environment: str) -> str:
    """What a person sees on a terminal of 80 columns: stdout and stderr together; bars after so many seconds.

    Everything fits into the columns and no word is cut, whatever the command.

    In a process of its own, which is a fork of this one, so that it need not import torch and the others again.
    """
    for name in (
        "attncli.api.model",
        "attncli.plotting.heatmap",
        "attncli.plotting.overview",
        "transformers.AutoModel",
    ):
        pkgutil.resolve_name(name)
    seen_at, other = pty.openpty()
    child = os.fork()
    if child == 0:
        _be_at_terminal(other, folder, {"COLUMNS": "80", "TERM": "xterm-256color", **environment})
        _bar.WAIT = wait
        os._exit(_code_of(args))
    os.close(other)
    seen = b""
    while True:
        try:
            part = os.read(seen_at, 65536)
        except OSError:  # how Linux says that the other side is closed
            part = b""
        if not part:
            break
        seen += part
    os.close(seen_at)
    assert os.waitpid(child, 0)[1] == 0, seen.decode()
    shown = seen.decode().replace("\r\n", "\n")
    if not shown.startswith("{"):
        check_fits(shown)
    return shown


def check_fits(shown: str, columns: int = 80) -> None:
    """Check that lines have at most so many cells and that no word is cut; paths, notes and bars may be longer."""
    for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines():
        if not re.match("Wrote |note: |warning: |failed: |error: |drawing |reading ", line):
            assert cell_len(line.rstrip()) <= columns, line
            assert not re.search(r"\w…", line), line


def _be_at_terminal(terminal: int, folder: Path, environment: dict[str, str]) -> None:
    """Make this process one whose stdout and stderr are a terminal."""
    torch.set_num_threads(1)  # threads do not survive a fork
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(terminal, number)
        setattr(sys, name, open(number, "w", encoding="utf-8", buffering=1, closefd=False))  # noqa: SIM115
    os.environ.update(environment)
    os.chdir(folder)


def _code_of(args: tuple[str, ...]) -> int:
    try:
        return main(args)
    except BaseException:
        traceback.print_exc()
        return 70


def test_a_person_reads_what_was_written(tmp_path: Path) -> None:
    assert on_terminal(tmp_path, "heatmap", "-t", TEXT, "--out", "here") == "Wrote here/encoder-grid.png\n"


def test_a_person_reads_a_table_of_statistics(tmp_path: Path) -> None:
    seen = on_terminal(tmp_path, "stats", "-t", TEXT, "--out", "here", NO_COLOR="1")
    assert "encoder attention, 16 heads" in seen
    assert "entropy_normalized" in seen
    assert "highest" in seen
    assert seen.endswith("Wrote here/stats.json\nWrote here/stats.csv\nWrote here/stats.png\n")
    assert "\x1b[3" not in seen


def test_a_person_reads_a_table_of_the_model(tmp_path: Path) -> None:
    seen = on_terminal(tmp_path, "info")
    assert "4 layers (0-3) x 4 heads" in seen
    assert "stream: streamed weights" in seen


def test_json_stays_json_for_a_person(tmp_path: Path) -> None:
    assert json.loads(on_terminal(tmp_path, "stats", "-t", TEXT, "--json"))["schema"] == "attncli.stats/1"


def test_quiet_says_nothing_to_a_person(tmp_path: Path) -> None:
    assert on_terminal(tmp_path, "stats", "-t", TEXT, "-q") == ""
    assert on_terminal(tmp_path, "heatmap", "-t", TEXT, "-q", "--special", "drop") == ""


def test_long_work_shows_a_bar(tmp_path: Path) -> None:
    seen = on_terminal(tmp_path, "heatmap", "-t", TEXT, "-l", "0", "--each", "--format", "png,svg", wait=0)
    assert "drawing" in seen
    assert "100%" in seen


@pytest.mark.parametrize("texts", [1, pytest.param(400, marks=pytest.mark.real)])
def test_long_reading_shows_how_fast_it_is_and_how_long_it_takes(texts: int, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(("the cat sat on the mat " * (800 // texts + 5) + "\n") * texts)
    args = ("stats", "-m", "demo:decoder", "-f", "texts.txt", "--max-tokens", "2048", "--metric", "sink", "-o", "here")
    seen = on_terminal(tmp_path, *args, wait=0)
    assert re.search(r"reading .* \d+% [\d,]+ tokens/s 0:\d\d:\d\d left", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen))
    assert "reading" not in on_terminal(tmp_path, *args, "--quiet", wait=0)


def test_a_pipe_reads_no_talk(run_cli: RunCli) -> None:
    done = run_cli("heatmap", "-t", TEXT, "--special", "drop", "-v", "--out", "here")
    assert done.out == "here/encoder-grid.png\n"
    lines = done.err.splitlines()
    assert lines[0].startswith("note: capture by stream: ")
    assert lines[1] == "note: texts: 1, batches: 1, layers: 4"
    assert lines[2].startswith("note: special tokens took ")
    quiet = run_cli("heatmap", "-t", TEXT, "--special", "drop", "-q", "--out", "here")
    assert (quiet.out, quiet.err) == ("here/encoder-grid.png\n", "")


def test_many_notes_are_counted(run_cli: RunCli) -> None:
    texts = [part for number in range(12) for part in ("-t", f"{number + 1}")]
    options = ("stats", "-m", "demo:seq2seq", "--metric", "entropy", "-l", "0", "--out", "here")
    lines = run_cli(*options, *texts).err.splitlines()
    assert len(lines) == 9
    assert lines[-1] == "note: 4 more such notes: --verbose shows them, manifest.json keeps them"
    assert len(json.loads(Path("here/manifest.json").read_text())["run"]["notes"]) == 12
    verbose = run_cli(*options, *texts, "-v").err.splitlines()
    assert sum(line.startswith("note: text ") for line in verbose) == 12


def test_what_libraries_print_is_no_data(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    from attncli.engine import runner

    real = runner.encode

    def talkative(*args: object, **options: object) -> object:
        sys.stdout.write("a library talks\n")
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "encode", talkative)
    done = run_cli("stats", "-t", TEXT, "--json")
    assert json.loads(done.out)["schema"] == "attncli.stats/1"
    assert done.err == "a library talks\n"


@pytest.mark.parametrize("command", ["heatmap", "stats"])
def test_a_reader_that_goes_away_does_not_stop_the_work(command: str, tmp_path: Path, forks: ForkServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    args = [forks.folder / "attncli", command, "-t", TEXT, "-l", "0,1", "--out", "here"]
    done = subprocess.run(args, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "here/manifest.json").read_text())["complete"] is True


def test_a_reader_of_help_may_go_away(forks: ForkServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    args = [forks.folder / "attncli", "--help"]
    done = subprocess.run(args, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_leaves_whole_files(tmp_path: Path, forks: ForkServer) -> None:
    options = ("-l", "0-1", "--each", "--format", "png,svg,pdf")
    args = [forks.folder / "attncli", "heatmap", "-t", TEXT, *options, "--out", "here"]
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "error: interrupted; the files that were written are complete"
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert sorted(Path(line).name for line in [first.strip(), *rest.split()]) == [
        name for name in names if name != "manifest.json"
    ]
    assert json.loads((tmp_path / "here/manifest.json").read_text())["complete"] is False
    done = subprocess.run(args, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert len(done.stdout.splitlines()) == 24


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1] and self in sys.meta_path:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

from attncli.cli import main
sys.meta_path.insert(0, Interrupting())
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "module",
    [
        "torch",
        "transformers",
        pytest.param("torch.nn.functional", marks=pytest.mark.real),
        pytest.param("attncli.engine.passes", marks=pytest.mark.real),
    ],
)
def test_ctrl_c_at_the_very_start_leaves_nothing(module: str, tmp_path: Path) -> None:
    """The start is importing: the signal comes when a module is looked for, so that no time has to be guessed."""
    args = [sys.executable, "-c", INTERRUPTED_IMPORT, module, "stats", "-t", TEXT, "--out", "here"]
    done = subprocess.run(args, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == "error: interrupted; the files that were written are complete"
    assert list(tmp_path.iterdir()) == []


STRAITENED = """
import resource, sys
import torch, transformers, matplotlib.pyplot, attncli.engine.runner
from transformers import AutoModel, AutoModelForCausalLM
from attncli.cli import main
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20,) * 2)
sys.exit(main(sys.argv[2:]))
"""


def straitened(forks: ForkServer, folder: Path, megabytes: int, *args: str) -> subprocess.CompletedProcess[str]:
    """A command that may take so much more memory than its imports have taken."""
    command = [forks.python, "-c", STRAITENED, str(megabytes), *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_out_of_memory_gives_advice_and_leaves_what_is_there(tmp_path: Path, forks: ForkServer) -> None:
    options = ("stats", "-m", "demo:decoder", "--metric", "sink", "--out", "here")
    first = straitened(forks, tmp_path, 1000, *options, "-t", TEXT)
    assert first.returncode == 0, first.stderr
    before = (tmp_path / "here/stats.json").read_bytes()
    long = ("-t", "cat " * 1000, "--save-maps", "--max-memory", "9GB", "--force")
    done = straitened(forks, tmp_path, 200, *options, *long)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: out of memory: give shorter or fewer texts (--max-tokens, --batch-tokens)")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "here/stats.json").read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_model_that_does_not_fit_gives_advice(minilm: Path, tmp_path: Path, forks: ForkServer) -> None:
    done = straitened(forks, tmp_path, 30, "stats", "-m", str(minilm), "-t", TEXT)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: out of memory: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 MB)"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_each_way_to_run_out_of_memory_is_known(error: Exception) -> None:
    from attncli.errors import ModelError, is_out_of_memory

    wrapped = ModelError("BertModel fails on this input")
    wrapped.__cause__ = error
    assert is_out_of_memory(error)
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(ModelError("the text says: out of memory"))
    own = ValueError("caused by itself")
    own.__cause__ = own
    assert not is_out_of_memory(own)


def test_a_defect_of_ours_is_one_line_too(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    from attncli.studies.heatmap import report

    def broken(*_: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(report, "pictures", broken)
    done = run_cli("heatmap", "-t", TEXT)
    assert done.code == 1
    assert done.err == "error: unexpected KeyError: 'gone' (a defect of attncli; --debug shows where)\n"
