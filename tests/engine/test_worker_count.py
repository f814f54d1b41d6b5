"""How many workers read a corpus if the user does not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncli.engine import worker_count
from attncli.engine.worker_count import default_workers, usable_cores

GB = 10**9


@pytest.fixture
def model(tmp_path: Path) -> dict[str, str]:
    """A model of one gigabyte, as a file without content."""
    with Path(tmp_path, "model.safetensors").open("wb") as file:
        file.truncate(GB)
    return {"name": str(tmp_path), "device": "cpu"}


def given(monkeypatch: pytest.MonkeyPatch, cores: int, free: int | None) -> None:
    monkeypatch.setattr(worker_count, "usable_cores", lambda: cores)
    monkeypatch.setattr(worker_count, "free_memory", lambda: free)


@pytest.mark.parametrize(
    ("cores", "free", "shards", "threads", "workers"),
    [
        (8, 100 * GB, 100, 1, 8),
        (8, None, 100, 1, 8),
        (8, 100 * GB, 3, 1, 3),
        (8, 100 * GB, 100, 4, 2),
        (8, 9 * GB, 100, 1, 3),
        (8, 3 * GB, 100, 1, 1),
        (1, 100 * GB, 100, 1, 1),
        (8, 100 * GB, 0, 1, 1),
    ],
)
def test_cores_memory_and_shards_limit_the_workers(
    cores: int,
    free: int | None,
    shards: int,
    threads: int,
    workers: int,
    model: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, cores, free)
    chosen, note = default_workers(model, shards, threads)
    assert chosen == workers
    if workers > 1:
        of_threads = "1 thread" if threads == 1 else f"{threads} threads"
        assert note == f"{workers} workers with {of_threads} each read the corpus: --workers N chooses another number"
    elif free == 3 * GB:
        assert "--workers 2 tries it, --threads 8 uses all cores" in note
    else:
        assert not note


def test_a_gpu_and_a_model_of_unknown_size_have_one_worker(
    model: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given(monkeypatch, 8, 100 * GB)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert default_workers({**model, "device": "cuda"}, 100) == (1, "")
    unknown = {"name": "someone/unknown", "device": "cpu"}
    assert default_workers(unknown, 100)[0] == 1
    blobs = tmp_path / "models--someone--unknown" / "blobs"
    blobs.mkdir(parents=True)
    Path(blobs, "0a").write_bytes(b"weights")
    assert default_workers(unknown, 100)[0] == 8
    assert default_workers({"name": "demo:encoder", "device": "cpu"}, 100)[0] == 8


def test_the_variable_of_threads_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    assert usable_cores() >= 1
