"""The engine of Ray with the real package of build/ray: the bytes of the local one, though workers are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import attncli
from attncli.corpus_options import CorpusOptions
from attncli.data.part_states import PartState
from attncli.engine import ray_engine
from attncli.engine.collected import Collected
from attncli.engine.corpus import in_this_process
from attncli.engine.execution import Execution
from attncli.engine.ray_cluster import connected
from attncli.engine.ray_engine import with_ray
from attncli.engine.request import Request
from attncli.engine.shards import ShardTask
from attncli.errors import ModelError, UsageError
from attncli.inputs.corpus import Corpus
from attncli.studies.stats.options import StatsOptions
from attncli.studies.stats.study import StatsStudy

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "ray"
STATS = StatsStudy(StatsOptions(metric=["entropy"]))
TWO_WORKERS = CorpusOptions(engine="ray", workers=2)
WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "two", "dogs", "ran", "over", "three", "hills", ",")
TIMEOUT = 300


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if not PACKAGES.exists():
        pytest.fail(f"{PACKAGES} does not exist: `make test-real` makes it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(PACKAGES)])
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, PACKAGES))))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "made.txt"
    path.write_text("".join(" ".join(chance.choices(WORDS, k=chance.randint(2, 12))) + "\n" for _ in range(4000)))
    return path


@pytest.fixture
def task(file: Path, tmp_path: Path) -> ShardTask:
    """Four shards of six texts."""
    path = tmp_path / "few.txt"
    path.write_text("".join(file.read_text().splitlines(keepends=True)[:24]))
    request = replace(Request.of(STATS.run_options()), any_axes=True)
    return ShardTask(STATS, request, {"name": "demo:encoder", "device": "cpu"}, Corpus.of_files(path), 6)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """Ray in this process, which the engine uses and leaves."""
    with connected(None, 2) as started:
        yield
        assert started.is_initialized()


@dataclass(frozen=True)
class Dying(StatsStudy):
    """A study whose worker dies over the second shard: once if there is a marker to make, else always."""

    marker: Path | None = None

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        if execution.first == 6 and not (self.marker and self.marker.exists()):
            if self.marker is not None:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().shard(execution)


@pytest.mark.usefixtures("ray")
def test_a_worker_that_dies_is_replaced_and_the_bytes_are_those_of_one_process(task: ShardTask, tmp_path: Path) -> None:
    dying, read = replace(task, study=Dying(STATS.options, tmp_path / "marker")), [0.0]
    shards = dict(with_ray(TWO_WORKERS)(dying, task.survey.shards, read.append))
    assert (tmp_path / "marker").exists()
    assert sum(read) == 24
    runner = attncli.load("demo:encoder", device="cpu")
    assert shards == dict(in_this_process(lambda: runner)(task, task.survey.shards, lambda texts: None))


@pytest.mark.usefixtures("ray")
def test_errors_of_workers_and_workers_that_die_again_and_again_stop_the_run(task: ShardTask, tmp_path: Path) -> None:
    dying = replace(task, study=Dying(STATS.options))
    with pytest.raises(ModelError, match=r"3 workers died .*few\.txt, line 7 to .*few\.txt, line 12; complete shards"):
        list(with_ray(TWO_WORKERS)(dying, task.survey.shards[1:2], lambda texts: None))
    path = tmp_path / "long.txt"
    path.write_text("cat " * 300)
    long = replace(task, corpus=Corpus.of_files(path))
    with pytest.raises(UsageError, match=r"long\.txt, line 1: text 0 has 602 tokens"):
        list(with_ray(replace(TWO_WORKERS, workers=1))(long, long.survey.shards, lambda texts: None))
    with pytest.raises(UsageError, match=r"2 with 0\.5 GPUs each need 1, and this machine has 0 GPUs"):
        list(with_ray(replace(TWO_WORKERS, gpus_per_worker=0.5))(task, task.survey.shards, lambda texts: None))


@pytest.mark.usefixtures("ray")
def test_workers_that_do_not_start_or_have_other_versions_stop_the_run(
    task: ShardTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "versions", lambda: {"torch": "0.1"})
    with pytest.raises(ModelError, match=r"a worker of Ray has torch \d.*, and this process 0\.1: install the same"):
        list(with_ray(TWO_WORKERS)(task, task.survey.shards, lambda texts: None))
    monkeypatch.setattr(ray_engine, "START_SECONDS", 3)
    with pytest.raises(ModelError, match="within 3 s: each asks for 4 CPUs and 0 GPUs, and the cluster has 2 CPUs"):
        list(with_ray(replace(TWO_WORKERS, threads=4))(task, task.survey.shards, lambda texts: None))


def arguments(file: Path, out: str, *more: str) -> list[str]:
    command = [sys.executable, "-m", "attncli", "stats", "-f", str(file), "-l", "0", "--metric", "entropy"]
    return [*command, "--no-pictures", "-q", "-o", out, *more]


@pytest.fixture(scope="module")
def local(file: Path) -> dict[str, bytes]:
    """The files of the local engine."""
    subprocess.run(arguments(file, "local"), cwd=file.parent, check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT)
    return files_of(file.parent / "local")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def descendants(pid: int) -> dict[int, str]:
    """The command lines of the processes that a process has started, and of those that these have started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [(int(line.split()[0]), int(line.split()[1]), line.split(None, 2)[2]) for line in listed.splitlines()]
    found, size = {pid: ""}, 0
    while len(found) > size:
        size = len(found)
        found |= {child: command for child, parent, command in rows if parent in found}
    return found


def listening(pids: dict[int, str]) -> set[str]:
    """The addresses, as in /proc/net, at which processes listen."""
    sockets = set()
    for pid in pids:
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(path.readlink()))
            except OSError:  # closed since
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_a_command_whose_worker_is_killed_writes_the_bytes_of_the_local_engine(
    file: Path, local: dict[str, bytes]
) -> None:
    command = arguments(file, "ray", "--engine", "ray", "--workers", "2")
    running = subprocess.Popen(command, cwd=file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + TIMEOUT
        while not list((file.parent / "ray").glob(".shards/0*")):
            assert running.poll() is None, running.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.1)
        children = descendants(running.pid)
        workers = [pid for pid, name in children.items() if "RayWorker.compute" in name]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        loopback = {"0100007F", "0" * 16 + "FFFF00000100007F", "0" * 24 + "01000000"}
        assert listening(children) <= loopback
        errors = running.communicate(timeout=TIMEOUT)[1]
    finally:
        running.kill()
    assert running.returncode == 0, errors
    assert "error:" not in errors  # Ray itself says that a worker was killed
    assert files_of(file.parent / "ray") == local
    time.sleep(2)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not (Path.home() / ".ray").exists()  # Ray would keep a token here


def test_a_cluster_that_runs_is_joined_and_left_alone(file: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    address = "127.0.0.1:6399"
    start = ["start", "--head", "--block", "--port=6399", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    start += ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir=/tmp/ray-{os.getpid()}"]
    program = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    # the cluster listens on this machine only, which those that join it must know
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONUNBUFFERED": "1",
    }
    with (tmp_path / "log").open("w") as log:
        cluster = subprocess.Popen(
            [sys.executable, "-c", program, *start], env=environment, stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        command = arguments(file, "joined", "--engine", "ray", "--workers", "2", "--address", address)
        end = time.monotonic() + TIMEOUT
        while "Ray runtime started" not in (tmp_path / "log").read_text():
            assert cluster.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.3)
        done = subprocess.run(
            command, check=False, cwd=file.parent, capture_output=True, text=True, env=environment, timeout=TIMEOUT
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert files_of(file.parent / "joined") == local
        children = descendants(cluster.pid)
        assert cluster.poll() is None
        assert [name for name in children.values() if "raylet" in name]
        assert not [name for name in children.values() if "RayWorker" in name]
    finally:
        for pid in descendants(cluster.pid):
            os.kill(pid, signal.SIGKILL)
        cluster.wait()
        shutil.rmtree(f"/tmp/ray-{os.getpid()}", ignore_errors=True)
