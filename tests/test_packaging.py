"""The wheel has everything that a run needs and nothing else; dependencies are ranges, not pins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from forking import ForkServer


@pytest.fixture(scope="module")
def project(repo: Path) -> Mapping[str, Any]:
    return tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def sources(repo: Path) -> list[str]:
    """The files that are committed or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (repo / name).is_file()]


@pytest.fixture(scope="module")
def wheel(repo: Path, sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources alone, so that leftovers of other builds cannot get in."""
    copy = tmp_path_factory.mktemp("sources")
    for name in sources:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repo / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", out, copy]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_whole_package(contents: set[str], sources: list[str]) -> None:
    package = {name for name in sources if name.startswith("attncli/")}
    assert "attncli/py.typed" in package
    assert package - contents == set()


def test_the_wheel_holds_the_help_pages(contents: set[str], repo: Path) -> None:
    package = repo / "attncli"
    pages = [*package.glob("studies/**/help.md"), *package.glob("cli/help/*.md")]
    assert {"attncli/studies/stats/help.md", "attncli/cli/help/output.md"} <= contents
    assert {str(path.relative_to(repo)) for path in pages} - contents == set()


@pytest.mark.parametrize("model", ["encoder", "decoder", "seq2seq", "classifier"])
def test_the_wheel_holds_the_bundled_models(model: str, contents: set[str], wheel: Path) -> None:
    folder = f"attncli/demo/{model}"
    assert {f"{folder}/config.json", f"{folder}/tokenizer.json", f"{folder}/model.safetensors"} <= contents
    assert zipfile.ZipFile(wheel).getinfo(f"{folder}/model.safetensors").file_size < 3_000_000


def test_the_wheel_holds_nothing_else(contents: set[str]) -> None:
    assert {name for name in contents if not re.match(r"attncli/|attncli-[\d.]+\.dist-info/", name)} == set()
    assert {name for name in contents if re.search(r"\.pyc$|/tests?/|/training/", name)} == set()


def test_the_wheel_has_the_licence_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        assert "Apache License" in archive.read(f"{info}/licenses/LICENSE").decode()
        assert "attncli = attncli.__main__:start" in archive.read(f"{info}/entry_points.txt").decode()


def test_the_wheel_alone_draws_a_heatmap_offline(wheel: Path, tmp_path: Path, forks: ForkServer) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys, attncli; from attncli.cli import main; print(attncli.__file__, file=sys.stderr);"
        "sys.exit(main(['heatmap', '--text', 'The cat sat.', '--out', 'pictures']) or main(['explain', 'stats.json']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        [forks.python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stderr
    assert "Statistics of every head" in done.stdout
    assert (tmp_path / "pictures" / "encoder-grid.png").read_bytes().startswith(b"\x89PNG")


def test_users_keep_their_own_torch(project: Mapping[str, Any]) -> None:
    ranges = {re.split(r"[>=<!~\[; ]", need)[0]: need for need in project["dependencies"]}
    assert ranges["transformers"] == "transformers>=5"
    assert {name: need for name, need in ranges.items() if not re.fullmatch(r"[\w-]+>=[\d.]+", need)} == {}


def test_the_pinned_set_is_whole_and_without_cuda(repo: Path, project: Mapping[str, Any]) -> None:
    text = (repo / "requirements" / "dev.txt").read_text(encoding="utf-8")
    pins = dict(line.lower().split("==") for line in text.splitlines() if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[>=<!~\[; ]", need)[0] for need in wanted} - {"attncli"}
    assert names - set(pins) == set()
    assert {name for name in pins if re.match(r"nvidia|cuda|triton", name, re.IGNORECASE)} == set()
