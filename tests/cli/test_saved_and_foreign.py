"""Saved runs and maps of other tools on the command line: read rightly, or refused before anything is written."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from saved_files import edit_arrays

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

Maps = np.ndarray[Any, Any]
CHANGES: dict[str, Callable[[Maps], Maps]] = {
    "negated": lambda maps: -maps,
    "NaN": lambda maps: maps * np.float32(np.nan),
    "doubled": lambda maps: maps * 2,
    "huge": lambda maps: np.full_like(maps, 1e30),
    "int32": lambda maps: maps.astype(np.int32),
    "cut short": lambda maps: maps[..., :-1],
}
READING = (
    ["stats"],
    ["heatmap"],
    ["view"],
    ["flow"],
    ["patterns"],
    ["heads"],
    ["segments"],
    ["highlight", "--focus", "cat"],
    ["find", "--query", "cat", "--key", "0"],
)


def refused(run_cli: RunCli, *args: object) -> str:
    """Run a command that must fail with exit code 2, one line, and no new file; return the line."""
    before = set(Path().rglob("*"))
    done = run_cli(*args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert len(done.err) < 500
    assert set(Path().rglob("*")) == before
    return done.err


def test_impossible_weights_of_a_saved_run_are_never_measured(run_cli: RunCli) -> None:
    texts = ("-t", "The cat sat on the mat.", "--metric", "entropy", "--format", "csv", "--save-maps")
    assert run_cli("stats", *texts, "-o", "good").code == 0
    for number, (name, change) in enumerate(CHANGES.items()):
        shutil.copytree("good", name)
        edit_arrays(Path(name), change)
        for command in READING if not number else READING[:1]:
            assert f"the saved run in {name} is damaged (" in refused(run_cli, *command, "--from", name)
        assert f"the saved run in {name} is damaged (" in refused(run_cli, "compare", "good", name)
        with pytest.raises(attncli.UsageError):
            attncli.open(name)
    assert run_cli("stats", "--from", "good", "--metric", "entropy", "--format", "csv", "-o", "again").code == 0


# ------------------------------------------------------------------------------------------------ memory


def test_the_limit_of_memory_holds_for_saved_runs_and_files(run_cli: RunCli) -> None:
    assert (
        run_cli(
            "stats", "-t", "The cat sat.", "--metric", "entropy", "--format", "csv", "--save-maps", "-o", "run"
        ).code
        == 0
    )
    np.save("maps.npy", np.full((8, 50, 50), 0.02, np.float32))
    limits = "allowed are 1 kB (--max-memory): allow more with --max-memory, or save fewer layers or heads\n"
    for path in ("run", "maps.npy"):
        line = refused(run_cli, "stats", "--from", path, "--max-memory", "1kB")
        assert line.startswith(f"error: {path} has {'80 kB' if path == 'maps.npy' else ''}")
        assert line.endswith(f" kB of attention maps, {limits}")
        assert "--max-memory" in refused(run_cli, "compare", path, path, "--max-memory", "1kB")
        assert run_cli("stats", "--from", path, "--max-memory", "1MB", "--format", "csv").code == 0
        with pytest.raises(attncli.UsageError, match="allowed are 1 kB"):
            attncli.open(path, max_memory="1kB")


def npz_of_zeros(path: str, side: int) -> None:
    """Write an npz of `side` x `side` zeros, without the zeros."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({side}, {side}), }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    row = b"\0" * (4 * side)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("maps.npy", "w") as member:
        member.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for _ in range(side):
            member.write(row)


def test_a_small_file_of_huge_maps_is_refused_before_it_is_read(
    run_tables: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz_of_zeros("zeros.npz", 8100)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("the array was read"))
    line = refused(run_tables, "heatmap", "--from", "zeros.npz")
    assert "of attention maps: nearly all of them are equal; if that is right, allow it with --max-memory 263MB" in line
    assert "allowed are 1 MB (--max-memory)" in refused(
        run_tables, "stats", "--from", "zeros.npz", "--max-memory", "1MB"
    )


# ------------------------------------------------------------------------------------------------ devices and pipes


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_regular_file_is_refused_at_once(run_cli: RunCli, kind: str) -> None:
    names = ["x", "x.jsonl", "x.csv", "x.parquet", "x.npz", "x.npy", "x.safetensors", "x.pt", "x.json", "x.yaml"]
    for name in names:
        if kind == "pipe":
            os.mkfifo(name)
        else:
            Path(name).symlink_to("/dev/zero")
    np.save("maps.npy", np.eye(3, dtype=np.float32))
    calls = [
        *(["stats", "--file", name] for name in names[:4]),
        ["stats", "--chat", "x.json"],
        *(["stats", "--from", name] for name in names[4:8]),
        *(
            ["stats", "--from", "maps.npy", option, name]
            for option in ("--labels", "--key-labels")
            for name in names[:1]
        ),
        ["stats", "--from", "maps.npy", "--labels", "x.json"],
        ["segments", "-t", "a text", "--segments", "x.json"],
        ["run", "x.yaml"],
        ["check", "x.yaml"],
    ]
    for call in calls:
        assert "is a pipe or a device: save its content as a file first" in refused(run_cli, *call), call
    assert "expected the folder of a saved run" in refused(run_cli, "stats", "--from", "x")
    Path("run").mkdir()
    Path("x").rename("run/manifest.json")
    assert "is not a run of attncli" in refused(run_cli, "stats", "--from", "run")
    done = run_cli("stats", "-t", "a text", "-o", "run", "--metric", "entropy")
    assert (done.code, done.out) == (4, "")
    assert "contains files that attncli did not write (manifest.json)" in done.err


# ------------------------------------------------------------------------------------------------ axes


def causal(*shape: int) -> Maps:
    maps = np.tril(np.random.default_rng(1).random(shape, dtype=np.float32) + 0.1)
    return maps / maps.sum(-1, keepdims=True)


def rollout(layers: Maps) -> Maps:
    """Return the rollout of maps [layer, head, query, key], in plain NumPy."""
    result = np.eye(layers.shape[-1])
    for heads in layers.astype(np.float64):
        result = (heads.mean(0) / 2 + np.eye(len(result)) / 2) @ result
    return result


def test_samples_of_a_batch_are_never_taken_for_layers(run_tables: RunCli) -> None:
    """Keras returns [batch, head, query, key] of one layer."""
    maps = causal(3, 2, 4, 4)
    np.save("keras.npy", maps)
    for command in (["flow"], ["stats"], ["heatmap"], ["compare", "keras.npy"]):
        source = [] if command[0] == "compare" else ["--from"]
        line = refused(run_tables, *command, *source, "keras.npy")
        assert "say which with --axes" in line
        assert "layer,head,query,key (3 layers of one text)" in line
        assert "text,head,query,key (3 texts and one layer)" in line
    run = attncli.open("keras.npy", axes="batch,head,query,key")
    for text in range(3):
        np.testing.assert_allclose(
            run.rollout(text=text).flow.values[-1], rollout(maps[text : text + 1])[-1], atol=1e-6
        )
    one = attncli.open("keras.npy", axes="layer,head,query,key")
    np.testing.assert_allclose(one.rollout().flow.values[-1], rollout(maps)[-1], atol=1e-6)


def test_a_stack_of_layers_is_measured_as_layers(run_cli: RunCli) -> None:
    """np.stack(outputs.attentions) is [layer, batch, head, query, key]."""
    maps = causal(5, 1, 2, 4, 4)
    np.save("stack.npy", maps)
    assert "say which with --axes" in refused(run_cli, "stats", "--from", "stack.npy")
    axes = ("--axes", "layer,batch,head,query,key")
    done = run_cli("stats", "--from", "stack.npy", *axes, "--metric", "entropy", "--format", "csv", "-o", "out")
    assert done.code == 0, done.err
    rows = [line.split(",") for line in done.out.splitlines()]
    assert [row[:4] for row in rows[1:]] == [["encoder", str(n // 2), str(n % 2), "1"] for n in range(10)]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(maps * np.log(maps), -1).mean(-1).ravel()
    np.testing.assert_allclose([float(row[5]) for row in rows[1:]], entropy, atol=1e-6)


def test_other_axes_or_arrays_have_another_folder(run_cli: RunCli) -> None:
    np.savez("maps.npz", a=causal(3, 2, 4, 4), b=causal(3, 2, 4, 4))
    for array in ("a", "b"):
        for axes in ("layer,head,query,key", "text,head,query,key"):
            options = ("--array", array, "--axes", axes, "--metric", "entropy", "--format", "csv")
            assert run_cli("stats", "--from", "maps.npz", *options).code == 0
    assert len(list(Path("outputs/stats/maps.npz").iterdir())) == 4


def test_two_files_are_compared_with_the_same_axes(run_tables: RunCli) -> None:
    np.save("a.npy", causal(2, 2, 4, 4))
    np.save("b.npy", causal(2, 2, 4, 4))
    done = run_tables("compare", "a.npy", "b.npy", "--axes", "batch,head,query,key", "--metric", "entropy")
    assert done.code == 0, done.err
    assert [line.split(",")[1:3] for line in done.out.splitlines()[1:]] == [["0", "0"], ["0", "1"]]
    models = ("compare", "demo:encoder", "demo:decoder", "-t", "a text")
    assert "--axes names the axes of files of maps" in refused(run_tables, *models, "--axes", "query,key")
    assert "--axes goes with --from" in refused(run_tables, "stats", "-t", "a text", "--axes", "query,key")
