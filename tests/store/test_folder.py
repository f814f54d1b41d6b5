"""Output folders: a run replaces only its own files, and the manifest lists them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import info

from attncli.data import Text
from attncli.errors import OutputError
from attncli.store import OutputFolder, default_folder, digest, input_sha256, json_text
from attncli.store.text import path_inside, plain, slug


def write_run(folder: Path, key: str, files: dict[str, str], force: bool = False) -> dict[str, Any]:
    out = OutputFolder(folder, "stats", key, force)
    for name, text in files.items():
        out.write_text(name, text)
    return out.finish(info())


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_the_manifest_lists_every_file_with_size_and_hash(tmp_path: Path) -> None:
    manifest = write_run(tmp_path / "new" / "run", "abc", {"b.txt": "bb", "a/a.txt": "a"})
    assert manifest == json.loads((tmp_path / "new" / "run" / "manifest.json").read_text())
    assert manifest["files"] == [
        {"name": "a/a.txt", "size": 1, "sha256": hashlib.sha256(b"a").hexdigest()},
        {"name": "b.txt", "size": 2, "sha256": hashlib.sha256(b"bb").hexdigest()},
    ]
    assert {name: manifest[name] for name in ("schema", "command", "digest", "complete")} == {
        "schema": "attncli.run/1",
        "command": "stats",
        "digest": "abc",
        "complete": True,
    }
    assert (manifest["run"]["class"], manifest["run"]["model"]) == ("BertModel", "demo:encoder")
    assert manifest["created"].endswith("+00:00")


def test_files_written_by_the_caller_are_listed_too(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "run", "heatmap", "abc")
    path = out.path_for("grid.png")
    path.write_bytes(b"png")
    assert out.written == (tmp_path / "run" / "grid.png",)
    assert [entry["name"] for entry in out.finish(info())["files"]] == ["grid.png"]


def test_a_listed_file_that_was_never_written_is_an_error(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "run", "heatmap", "abc")
    out.path_for("grid.png")
    with pytest.raises(OutputError, match=r"grid\.png: No such file"):
        out.finish(info())


def test_the_constructor_creates_no_files(tmp_path: Path) -> None:
    OutputFolder(tmp_path / "a" / "b", "stats", "abc")
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_replaces_its_own_files(tmp_path: Path) -> None:
    write_run(tmp_path, "abc", {"a.txt": "old"})
    write_run(tmp_path, "abc", {"a.txt": "new"})
    assert contents(tmp_path) == {"a.txt": "new"}


def test_the_same_run_still_lists_its_earlier_files(tmp_path: Path) -> None:
    write_run(tmp_path, "abc", {"a.txt": "a", "changed.txt": "as written"})
    (tmp_path / "changed.txt").write_text("by hand")
    manifest = write_run(tmp_path, "abc", {"b.txt": "b"})
    assert [entry["name"] for entry in manifest["files"]] == ["a.txt", "b.txt"]
    assert contents(tmp_path) == {"a.txt": "a", "b.txt": "b", "changed.txt": "by hand"}


@pytest.mark.parametrize(("command", "key"), [("stats", "other"), ("heatmap", "abc")])
def test_another_run_is_refused_and_nothing_changes(tmp_path: Path, command: str, key: str) -> None:
    write_run(tmp_path, "abc", {"a.txt": "a"})
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(OutputError) as refused:
        OutputFolder(tmp_path, command, key)
    assert str(refused.value) == (
        f"{tmp_path} contains another run (stats abc): choose another folder with --out, or replace it with --force"
    )
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_force_replaces_another_run_but_keeps_other_files(tmp_path: Path) -> None:
    write_run(tmp_path, "abc", {"a.txt": "a", "stale.txt": "s", "edited.txt": "e"})
    (tmp_path / "edited.txt").write_text("by hand")
    (tmp_path / "notes.txt").write_text("a stranger's")
    manifest = write_run(tmp_path, "other", {"a.txt": "new"}, force=True)
    assert contents(tmp_path) == {"a.txt": "new", "edited.txt": "by hand", "notes.txt": "a stranger's"}
    assert [entry["name"] for entry in manifest["files"]] == ["a.txt"]


def test_an_interrupted_forced_run_cleans_up_when_it_continues(tmp_path: Path) -> None:
    write_run(tmp_path, "abc", {"stale.txt": "s"})
    OutputFolder(tmp_path, "stats", "other", force=True).write_text("a.txt", "half the work")
    assert contents(tmp_path) == {"a.txt": "half the work", "stale.txt": "s"}
    write_run(tmp_path, "other", {"b.txt": "b"})
    assert contents(tmp_path) == {"a.txt": "half the work", "b.txt": "b"}


@pytest.mark.parametrize("listed", ["a.txt", {"a.txt": 1}, 3, None, [3, "a.txt", {"name": 5}]])
def test_force_replaces_a_run_whose_manifest_is_damaged(listed: object, tmp_path: Path) -> None:
    write_run(tmp_path, "abc", {"a.txt": "old"})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": listed, "replaces": listed}))
    manifest = write_run(tmp_path, "other", {"b.txt": "new"}, force=True)
    assert [entry["name"] for entry in manifest["files"]] == ["b.txt"]
    assert contents(tmp_path) == {"a.txt": "old", "b.txt": "new"}


def test_a_manifest_cannot_make_force_delete_files_elsewhere(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.txt", tmp_path / "run"
    outside.write_text("mine")
    write_run(folder, "abc", {"a.txt": "a"})
    manifest = json.loads((folder / "manifest.json").read_text())
    sha256 = hashlib.sha256(b"mine").hexdigest()
    (folder / "link.txt").symlink_to(outside)
    for name in ("../outside.txt", str(outside), "link.txt"):
        manifest["files"].append({"name": name, "size": 4, "sha256": sha256})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_run(folder, "other", {"b.txt": "b"}, force=True)
    assert outside.read_text() == "mine"
    assert contents(folder) == {"b.txt": "b", "link.txt": "mine"}


def test_an_interrupted_run_leaves_complete_files_and_may_continue(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path, "stats", "abc")
    out.write_text("a.txt", "a")
    assert json.loads((tmp_path / "manifest.json").read_text())["complete"] is False
    with pytest.raises(OutputError, match="contains another run"):
        OutputFolder(tmp_path, "stats", "other")
    assert write_run(tmp_path, "abc", {"a.txt": "a"})["complete"] is True


def test_a_complete_run_stays_complete_when_its_repetition_is_interrupted(tmp_path: Path) -> None:
    manifest = write_run(tmp_path, "abc", {"a.txt": "a"})
    OutputFolder(tmp_path, "stats", "abc").write_text("a.txt", "a")
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize("manifest", ["not JSON", '{"schema": "other/1"}', '["attncli.run/1"]', "[" * 100_000])
def test_a_folder_with_other_files_is_refused_unless_forced(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "b.txt").write_text("")
    with pytest.raises(OutputError, match=r"files that attncli did not write \(b.txt, manifest.json\): choose"):
        OutputFolder(tmp_path, "stats", "abc")
    assert write_run(tmp_path, "abc", {"a.txt": "a"}, force=True)["complete"]
    assert contents(tmp_path) == {"a.txt": "a", "b.txt": ""}


def test_dot_files_are_not_other_files(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").write_text("")
    assert write_run(tmp_path, "abc", {"a.txt": "a"})["complete"]


@pytest.mark.parametrize("below", [(), ("sub", "sub")])
@pytest.mark.parametrize("force", [False, True])
def test_a_file_in_the_way_is_refused(tmp_path: Path, below: tuple[str, ...], force: bool) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(OutputError, match=f"expected a folder, but {path} is a file"):
        OutputFolder(path.joinpath(*below), "stats", "abc", force)


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "a/../../b", "manifest.json", "", "c:a", "a\\b"])
def test_no_file_of_a_run_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="expected a file name inside"):
        OutputFolder(tmp_path / "run", "stats", "abc").write_text(name, "")


def test_the_later_of_two_different_runs_at_once_is_refused(tmp_path: Path) -> None:
    first, second = (OutputFolder(tmp_path / "run", "stats", key) for key in ("abc", "other"))
    first.write_text("a.txt", "first")
    with pytest.raises(OutputError, match="contains another run"):
        second.write_text("a.txt", "second")
    assert contents(tmp_path / "run") == {"a.txt": "first"}


def _race(folder: Path, number: int, barrier: Any, won: list[int]) -> None:
    out = OutputFolder(folder, "stats", f"run{number}")
    barrier.wait()
    try:
        out.write_text("a.txt", f"run{number}")
        out.finish(info())
        won.append(number)
    except OutputError:
        return


def test_exactly_one_of_many_different_runs_gets_the_folder(tmp_path: Path) -> None:
    for attempt in range(10):
        folder, won, barrier = tmp_path / str(attempt), list[int](), threading.Barrier(8)
        threads = [threading.Thread(target=_race, args=(folder, n, barrier, won)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert contents(folder) == {"a.txt": f"run{won[0]}"}


def _same_run(folder: Path) -> None:
    for _ in range(10):
        write_run(folder, "abc", {f"{n}.txt": str(n) * 10_000 for n in range(5)})


def test_equal_runs_in_several_processes_do_no_harm(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_same_run, args=(tmp_path / "run",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["files"]] == [f"{n}.txt" for n in range(5)]
    assert contents(tmp_path / "run") == {f"{n}.txt": str(n) * 10_000 for n in range(5)}


# ------------------------------------------------------------------------------------------ names and digests


def test_the_digest_depends_on_each_part_and_not_on_order() -> None:
    base = digest("m", None, "input", {"a": 1, "b": (2, 3)})
    assert base == digest("m", None, "input", {"b": [2, 3], "a": 1})
    others = {
        digest("n", None, "input", {"a": 1, "b": (2, 3)}),
        digest("m", "main", "input", {"a": 1, "b": (2, 3)}),
        digest("m", None, "other", {"a": 1, "b": (2, 3)}),
        digest("m", None, "input", {"a": 1, "b": (2, 4)}),
    }
    assert len(others | {base}) == 5
    assert len(base) == 12


def test_the_digest_never_changes() -> None:
    assert digest("demo:encoder", None, input_sha256([Text("a text")]), {"layer": [3]}) == "cd75c0021014"


def test_the_hash_of_the_input_depends_on_every_field_and_border() -> None:
    texts = [Text("ab"), Text("a", pair="b"), Text("a", target="b"), Text("ab", messages=({"role": "user"},))]
    hashes = [input_sha256([text]) for text in texts] + [input_sha256([Text("a"), Text("b")])]
    assert len(set(hashes)) == 5
    assert input_sha256([Text("\ud800")]) != input_sha256([Text("\ud801")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo:encoder", "demo-encoder"),
        ("google-bert/bert-base-uncased", "google-bert--bert-base-uncased"),
        ("/models/my model/", "my-model"),
        ("./../tiny", "tiny"),
        ("C:\\models\\tiny", "tiny"),
        ("..", "model"),
        ("/", "model"),
        ("", "model"),
        ("模型", "model"),
        ("a" * 300, "a" * 80),
    ],
)
def test_a_models_name_becomes_a_folder_name(name: str, expected: str) -> None:
    assert slug(name) == expected
    assert default_folder("stats", name, "abc") == Path("outputs", "stats", expected, "abc")


@given(st.text())
def test_any_name_becomes_one_safe_part_of_a_path(name: str) -> None:
    safe = slug(name)
    assert Path(safe).parts == (safe,)
    assert safe.isascii()
    assert not safe.startswith(".")
    assert len(safe) <= 80


@given(st.text(alphabet=st.sampled_from("./\\a:\0")))
def test_a_name_from_a_manifest_never_leaves_the_folder(name: str) -> None:
    path = path_inside(Path("/nowhere/run"), name)
    assert path is None or path.resolve().is_relative_to("/nowhere/run")


def test_options_become_plain_values() -> None:
    value = {"path": Path("a/b"), "tuple": (1, None), "set": {"b", "a"}, "nan": float("nan"), 1: True}
    expected = {"path": "a/b", "tuple": [1, None], "set": ["a", "b"], "nan": None, "1": True}
    assert plain(value) == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_json_loads_back_and_is_utf8(document: dict[str, Any]) -> None:
    assert json.loads(json_text(document).encode()) == document


def test_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text({"value": float("nan")})
