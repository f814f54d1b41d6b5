"""A command that is killed, or whose streams are closed or full, ends in one line and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attncli import process
from attncli.cli import main
from attncli.errors import UsageError
from attncli.inputs.text_files import read_file_text

if TYPE_CHECKING:
    from conftest import RunCli
    from forking import ForkServer

TEXT = "The cat sat on the mat."
STATS = ("stats", "-t", TEXT, "--metric", "entropy", "--format", "csv", "--out", "here")
COMPLETE = "the files that were written are complete"


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGTERM, 143, " by SIGTERM"), (signal.SIGHUP, 129, " by SIGHUP")]
)
def test_a_signal_ends_like_ctrl_c(number: signal.Signals, code: int, name: str, forks: ForkServer) -> None:
    """The command stops in the middle of a write; the half file goes, the complete files stay."""
    folder = forks.folder / f"signal-{code}"
    script = f"""
        import os, sys
        from attncli.store import tables
        from attncli.cli import main

        def stop(columns, header=True, safe=False):
            assert [name for name in os.listdir("here") if name.startswith(".attncli-")], os.listdir("here")
            os.kill(os.getpid(), {int(number)})

        tables.table_csv = stop
        sys.exit(main({[*STATS, "--format", "json,csv"]!r}))
    """
    folder.mkdir()
    done = run_python(forks, script, folder)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr == f"error: interrupted{name}; {COMPLETE}\n"
    assert sorted(path.name for path in (folder / "here").iterdir()) == ["manifest.json", "stats.json"]
    assert json.loads((folder / "here/manifest.json").read_text())["complete"] is False
    assert json.loads((folder / "here/stats.json").read_text())["schema"] == "attncli.stats/1"


def run_python(forks: ForkServer, script: str, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    lines = script.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    code = "\n".join(line[indent:] for line in lines)
    command = [forks.python, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_handlers_of_the_caller_stay(run_cli: RunCli) -> None:
    """`nohup` ignores SIGHUP: then it stays ignored; after the command, every handler is as before."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in process.ENDING]
        raised = process.raise_on_signals()
        assert signal.SIGHUP not in raised
        assert raised == {signal.SIGTERM: signal.SIG_DFL}
        process.restore_signals(raised)
        assert run_cli("--version").code == 0
        assert [signal.getsignal(number) for number in process.ENDING] == handlers
    finally:
        signal.signal(signal.SIGHUP, former)


INTERRUPTED_START = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1] and self in sys.meta_path:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(sys.argv[2]))

sys.meta_path.insert(0, Interrupting())
module, number, *sys.argv[1:] = sys.argv[1:]
sys.argv[1:] = [module, number]
runpy.run_module("attncli", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "number", "code"),
    [
        ("attncli.process", signal.SIGINT, 130),
        ("attncli.cli", signal.SIGINT, 130),
        ("typer", signal.SIGTERM, 143),
        ("attncli.registry", signal.SIGHUP, 129),
    ],
)
def test_a_signal_while_the_command_line_is_imported_ends_in_one_line(
    module: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    args = [sys.executable, "-c", INTERRUPTED_START, module, str(int(number))]
    done = subprocess.run(args, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    name = "" if code == 130 else f" by {number.name}"
    assert done.stderr == f"error: interrupted{name}; {COMPLETE}\n"


def test_import_of_the_package_loads_little() -> None:
    """Nothing handles Ctrl-C while the package itself is imported, so this must be short."""
    code = "import sys; before = {*sys.modules}; import attncli; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    own_cost = {name for name in done.stdout.split() if not name.startswith("importlib")}
    assert own_cost <= {"__future__", "attncli", "warnings", "_warnings"}


def test_an_interrupt_that_python_drops_comes_again(forks: ForkServer, tmp_path: Path) -> None:
    """What a finaliser raises is dropped: the signal is sent again, without a traceback."""
    script = """
        import signal, threading
        from attncli.process import Interrupted, raise_on_signals, repeat_lost_interrupts

        class Raising:
            def __del__(self):
                raise Interrupted(signal.SIGTERM)

        raise_on_signals()
        repeat_lost_interrupts()
        try:
            Raising()
            threading.Event().wait(60)
        except KeyboardInterrupt as error:
            print(error.signal)
    """
    done = run_python(forks, script, tmp_path)
    assert (done.stdout, done.stderr) == (f"{int(signal.SIGTERM)}\n", "")


def test_the_program_seldom_searches_for_garbage(forks: ForkServer, tmp_path: Path) -> None:
    """Searches while torch is imported, and at the end, would take a quarter of a short command."""
    script = """
        import gc, sys
        from attncli.__main__ import start

        sys.argv[1:] = ["--version"]
        before = gc.get_threshold()[0], gc.get_freeze_count()
        try:
            start()
        except SystemExit as stop:
            print(stop.code, gc.get_threshold()[0] > 10 * before[0], gc.get_freeze_count() > before[1])
    """
    done = run_python(forks, script, tmp_path)
    assert done.stdout.splitlines()[-1:] == ["0 True True"], done.stderr


def run_with_streams(forks: ForkServer, folder: Path, redirection: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run attncli with a redirection of the shell such as `>&-`, which closes stdout."""
    shell = f'exec "$0" "$@" {redirection}'
    command = ["sh", "-c", shell, str(forks.folder / "attncli"), *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("args", [STATS, ("--help",), ("explain", "entropy"), ("--version",)], ids=" ".join)
def test_a_full_stdout_is_an_output_that_cannot_be_written(
    args: tuple[str, ...], tmp_path: Path, forks: ForkServer
) -> None:
    done = run_with_streams(forks, tmp_path, ">/dev/full", *args)
    advice = "send it to another file or program"
    assert done.stderr.splitlines()[-1] == f"error: cannot write to stdout: No space left on device; {advice}"
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    if args == STATS:
        assert json.loads((tmp_path / "here/manifest.json").read_text())["complete"] is True


def test_a_full_stderr_changes_nothing_else(tmp_path: Path, forks: ForkServer) -> None:
    done = run_with_streams(forks, tmp_path, "2>/dev/full", *STATS, "-v")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "kind,layer,head,texts,queries,entropy")
    assert run_with_streams(forks, tmp_path, ">/dev/full 2>/dev/full", "stats", "--layer", "99").returncode == 2


def test_closed_streams_are_no_crash(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert run_cli(*STATS).code == 4
    assert json.loads(Path("here/manifest.json").read_text())["complete"] is True
    assert run_cli("stats", "--zzz").code == 2
    assert run_cli("stats", "-t", TEXT, "--layer", "99").code == 2
    assert run_cli("heatmap", "-t", TEXT, "-l", "0", "-H", "0", "--out", "picture").code == 4
    assert Path("picture/encoder-L00-H00.png").exists()
    assert run_cli("--help").code == 4
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["stats", "-f", "-"]) == 2
    assert capfd.readouterr() == ("", "")


def test_closed_stdin_is_missing_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="cannot read stdin: it is closed"):
        read_file_text("-")


def test_stdin_that_cannot_be_read_is_missing_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "written").open("w") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(UsageError, match="cannot read stdin: "):
            read_file_text("-")


def test_closed_descriptors_are_occupied_before_anything_is_opened(tmp_path: Path, forks: ForkServer) -> None:
    """Else the first file that is opened gets number 1, and what a library prints lands in it."""
    script = """
        import os, sys
        from attncli.process import occupy_closed_descriptors
        os.close(1)
        occupy_closed_descriptors()
        os.write(1, b"printed by a library")
        print(os.open("first", os.O_CREAT | os.O_WRONLY), file=sys.stderr)
    """
    done = run_python(forks, script, tmp_path)
    assert int(done.stderr) > 2
    assert (tmp_path / "first").read_bytes() == b""


@pytest.mark.parametrize("args", [("--help",), ("explain", "entropy"), ("stats", "--help"), STATS], ids=" ".join)
def test_ascii_streams_escape_what_they_lack(args: tuple[str, ...], tmp_path: Path, forks: ForkServer) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [forks.folder / "attncli", *args]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
