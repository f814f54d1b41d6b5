"""Files are written completely or not at all: on errors, Ctrl-C, a full disk and a read-only folder."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from attncli.errors import OutputError
from attncli.store import OutputFolder, files
from attncli.store.files import atomic_file, make_folder, remove_litter, write_atomic, write_new

NOBODY = 65534


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, interruption: type[BaseException]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise interruption


def run_python(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.run(call, capture_output=True, text=True, timeout=600, check=False)


def test_a_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_has_the_usual_permissions_of_a_new_file(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.txt", b"")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")
    with pytest.raises(interruption):
        fail_half_way(path, interruption)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_ctrl_c_in_the_middle_of_a_write_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = """
        import signal, sys, time
        from pathlib import Path
        from attncli.store.files import atomic_file
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests with it ignored
        with atomic_file(Path(sys.argv[1])) as temporary, temporary.open("wb") as file:
            file.write(b"half" * 100_000)
            file.flush()
            print("half", flush=True)
            time.sleep(600)
    """
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    call = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=600)
    assert process.returncode == -signal.SIGINT
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


WRITE_TOO_MUCH = """
    import os, resource, sys
    from pathlib import Path
    import numpy as np
    from attncli.errors import OutputError
    from attncli.store.arrays import ArrayStack, save_arrays
    from attncli.store.files import write_atomic
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    write_atomic(folder / "small.txt", b"small")
    stacks = {"maps": ArrayStack((np.ones(100_000, np.float32),))}
    for write in (
        lambda: write_atomic(folder / "big.bin", b"x" * 400_000),
        lambda: save_arrays(folder / "maps.safetensors", stacks),
        lambda: save_arrays(folder / "maps.npz", stacks),
    ):
        try:
            write()
            sys.exit("nothing was refused")
        except OutputError as error:
            print(error.exit_code, error)
    print(sorted(os.listdir(folder)))
"""


def assert_full(done: subprocess.CompletedProcess[str], folder: Path, reason: str) -> None:
    advice = "free some space or choose another folder"
    files = ("big.bin", "maps.safetensors", "maps.npz")
    refused = [f"4 cannot write {folder / name}: {reason}; {advice}" for name in files]
    assert done.stdout.splitlines() == [*refused, "['small.txt']"], done.stderr


def test_a_file_beyond_the_size_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    assert_full(run_python(WRITE_TOO_MUCH, tmp_path, 50_000), tmp_path, "File too large")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_refused_and_leaves_nothing(tiny_disk: Path) -> None:
    assert_full(run_python(WRITE_TOO_MUCH, tiny_disk, 0), tiny_disk, "No space left on device")


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that this process must not write to; during the test the process is not root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    folder.rmdir()


def test_a_folder_without_write_permission_is_refused_by_name(locked_folder: Path) -> None:
    with pytest.raises(OutputError) as refused:
        write_atomic(locked_folder / "a.txt", b"")
    path = locked_folder / "a.txt"
    advice = "choose a folder that you may write to with --out"
    assert str(refused.value) == f"cannot write {path}: Permission denied; {advice}"
    with pytest.raises(OutputError, match="Permission denied"):
        make_folder(locked_folder / "sub")


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Not a directory; a part of the path is a file"):
        write_atomic(tmp_path / "file" / "a.txt", b"")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="Is a directory; a folder of that name is in the way"):
        write_atomic(tmp_path / "a.txt", b"new")
    assert names(tmp_path) == ["a.txt"]


def test_only_the_first_of_two_writers_gets_a_new_file(tmp_path: Path) -> None:
    assert write_new(tmp_path / "a.txt", b"first")
    assert not write_new(tmp_path / "a.txt", b"second")
    assert (tmp_path / "a.txt").read_bytes() == b"first"
    assert names(tmp_path) == ["a.txt"]


def test_a_new_file_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # what FAT and some network disks say

    monkeypatch.setattr(os, "link", refuse)
    assert write_new(tmp_path / "a.txt", b"first")
    assert not write_new(tmp_path / "a.txt", b"second")
    assert (tmp_path / "a.txt").read_bytes() == b"first"
    assert names(tmp_path) == ["a.txt"]


HALF_WRITTEN = """
    import os, signal, sys
    from pathlib import Path
    from attncli.store.files import atomic_file
    with atomic_file(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(b"half")
        print("half", flush=True)
        {end}
"""


def test_the_next_run_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    done = run_python(HALF_WRITTEN.format(end="os.kill(os.getpid(), signal.SIGKILL)"), tmp_path / "stats.csv")
    assert done.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(".attncli-")
    (tmp_path / ".attncli-notes").write_text("of the user")
    folder = OutputFolder(tmp_path, "stats", "0123456789ab")
    assert left in names(tmp_path)
    folder.write_text("stats.json", "{}")
    assert names(tmp_path) == [".attncli-notes", "manifest.json", "stats.json"]


def test_files_that_another_process_is_writing_stay(tmp_path: Path) -> None:
    script = textwrap.dedent(HALF_WRITTEN.format(end="sys.stdin.read()"))
    call = [sys.executable, "-c", script, str(tmp_path / "a.csv")]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        remove_litter(tmp_path)
        assert len(names(tmp_path)) == 1
        process.communicate("")
    assert process.returncode == 0
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_bytes() == b"half"


def test_a_temporary_file_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, removed = files._lock, []

    def lock_late(descriptor: int, wait: bool = True) -> None:
        if not removed:
            removed.append(names(tmp_path)[0])
            (tmp_path / removed[0]).unlink()
        lock(descriptor, wait)

    monkeypatch.setattr(files, "_lock", lock_late)
    write_atomic(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert removed
    assert names(tmp_path) == ["a.txt"]
