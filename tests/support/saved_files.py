"""Changes of saved runs that their manifest agrees with, as by a tool that writes such folders wrongly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of a run, and the manifest accordingly."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    if name != "manifest.json":
        renew_entry(folder, name)


def renew_entry(folder: Path, name: str) -> None:
    """Write the size and the hash of a changed file into the manifest."""
    data = (folder / name).read_bytes()
    entry = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def renew(manifest: dict[str, Any]) -> None:
        manifest["files"] = [*(old for old in manifest["files"] if old["name"] != name), entry]

    edit(folder, "manifest.json", renew)


def edit_arrays(folder: Path, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> None:
    """Change all arrays of weights of a run, and the manifest accordingly."""
    path = folder / "maps.safetensors"
    arrays = {name: change(array) if array.ndim == 4 else array for name, array in load_file(path).items()}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    renew_entry(folder, path.name)
