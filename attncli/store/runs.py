"""Saved runs: maps, statistics and vectors on disk, opened without the model."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncli.data import FORMAT, Attention, Input, RunInfo, Statistics, Vectors
from attncli.errors import UsageError, did_you_mean
from attncli.paths import what_is_at
from attncli.store.arrays import load_arrays, save_arrays
from attncli.store.codec import Decoder, Encoder, parse_layout
from attncli.store.documents import ManifestDocument, SavedDocument, wrong_type
from attncli.store.folder import MANIFEST, OutputFolder, read_manifest, run_info_from, unchanged
from attncli.store.headers import Fits, any_size
from attncli.store.possible import DamageError, check_parts
from attncli.store.text import json_text
from attncli.vocabulary import LAYOUTS, MAPS_FORMATS

RUN_FILE = "run.json"
MAPS_FILES = tuple(f"maps.{format}" for format in MAPS_FORMATS)
SCHEMA = "attncli.saved/1"


@dataclass(frozen=True, eq=False)
class RunParts:
    """The parts of a run that are saved.

    info        where the results come from
    inputs      the texts with their tokens
    maps        the kept maps by text, then kind; empty if only statistics were requested
    statistics  the statistics of the same forward pass, None if they were not requested
    vectors     query and key vectors by text, kind and layer, if they were requested
    """

    info: RunInfo
    inputs: tuple[Input, ...]
    maps: tuple[Attention, ...] = ()
    statistics: Statistics | None = None
    vectors: tuple[Vectors, ...] = ()


def save_run(folder: OutputFolder, run: RunParts, *, layout: str = LAYOUTS[0], format: str = MAPS_FORMATS[0]) -> None:
    """Write maps, statistics and vectors for `open_run`; `folder.finish` then completes the run.

    layout  order of the axes on disk. With `layer`, the layers of a text and kind share one array if their shapes
            agree; without it (`query,key,head`) each layer has its own. Masks are always `[1 or head, query, key]`
    format  safetensors or npz
    """
    if format not in MAPS_FORMATS:
        raise UsageError(f"unknown format '{format}' of saved maps: {did_you_mean(format, MAPS_FORMATS)}")
    maps_file = f"maps.{format}"
    encoder = Encoder(parse_layout(layout))
    document = {
        "schema": SCHEMA,
        "layout": layout,
        "arrays": maps_file,
        "inputs": list(map(encoder.input, run.inputs)),
        "attention": list(map(encoder.attention, run.maps)),
        "statistics": None if run.statistics is None else encoder.statistics(run.statistics),
        **({"vectors": list(map(encoder.vectors, run.vectors))} if run.vectors else {}),
    }
    save_arrays(folder.path_for(maps_file), encoder.pool.stacks)
    folder.write_text(RUN_FILE, json_text({**document, "tokens": encoder.tokens}))


def open_run(directory: str | Path, fits: Fits = any_size) -> RunParts:
    """Return a saved run; raise UsageError if it is missing, incomplete, damaged or of a newer format.

    fits  receives the bytes that its arrays need in memory before they are read, and raises an error if too many
    """
    folder = Path(directory)
    manifest = _checked_manifest(folder)
    document = _read_document(folder / RUN_FILE)
    for name, values, model in ((MANIFEST, manifest, ManifestDocument), (RUN_FILE, document, SavedDocument)):
        if problem := wrong_type(values, model):
            raise UsageError(f"the saved run in {folder} is damaged ({name}, {problem}): save it again")
    arrays = load_arrays(folder / document["arrays"], fits=fits)
    try:
        decoder = Decoder(document["tokens"], arrays)
        statistics = document["statistics"]
        parts = RunParts(
            info=run_info_from(manifest["run"]),
            inputs=tuple(map(decoder.input, document["inputs"])),
            maps=tuple(map(decoder.attention, document["attention"])),
            statistics=None if statistics is None else decoder.statistics(statistics),
            vectors=tuple(map(decoder.vectors, document.get("vectors", []))),
        )
        check_parts(parts.inputs, parts.maps, parts.vectors)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = str(error) if isinstance(error, DamageError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"the saved run in {folder} is damaged ({reason}): save it again") from error
    return parts


def _checked_manifest(folder: Path) -> dict[str, Any]:
    found = what_is_at(folder)
    if found != "folder":
        problem = "is a file" if found == "file" else "does not exist"
        raise UsageError(f"expected the folder of a saved run, but {folder} {problem}: give a folder with {MANIFEST}")
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder} is not a run of attncli: expected a folder with a {MANIFEST} that attncli wrote")
    _check_version(folder, manifest)
    if not manifest.get("complete"):
        raise UsageError(f"the run in {folder} was interrupted before its end: run the same command again")
    _check_files(folder, manifest)
    return manifest


def _check_version(folder: Path, manifest: dict[str, Any]) -> None:
    run = manifest.get("run")
    run = run if isinstance(run, dict) else {}
    version = re.search(r"\d+$", str(manifest["schema"]))
    format = max(int(version.group()) if version else 0, run["format"] if isinstance(run.get("format"), int) else 0)
    if format > FORMAT:
        versions = run.get("versions")
        writer = versions.get("attncli", "unknown") if isinstance(versions, dict) else "unknown"
        raise UsageError(
            f"the run in {folder} has format {format} (written by attncli {writer}), "
            f"this attncli reads formats up to {FORMAT}: install a newer attncli"
        )


def _check_files(folder: Path, manifest: dict[str, Any]) -> None:
    listed = manifest.get("files")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    needed = {entry["name"]: entry for entry in entries if entry.get("name") in (RUN_FILE, *MAPS_FILES)}
    if RUN_FILE not in needed:
        raise UsageError(f"the run in {folder} has no maps: run '{manifest.get('command')}' again with --save-maps")
    for name, entry in needed.items():
        if not (folder / name).is_file():
            raise UsageError(f"{folder / name} is missing, though {MANIFEST} lists it: save the run again")
        if name not in unchanged(folder, [entry]):
            raise UsageError(f"{folder / name} differs from {MANIFEST} (changed or damaged): save the run again")


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}; save the run again") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema!r}, this attncli reads {SCHEMA!r}: save the run again")
    if (name := document.get("arrays")) not in MAPS_FILES:
        raise UsageError(f"{RUN_FILE} names {name!r} as the file of its maps: expected maps.safetensors or maps.npz")
    return dict(document)
