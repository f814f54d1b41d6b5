"""The output folder of a run, and its manifest, which lists the files of the run."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attncli.data import FORMAT, RunInfo, Text
from attncli.errors import OutputError
from attncli.paths import without_folders
from attncli.store.files import (
    NEED_RIGHTS,
    check_folder,
    make_folder,
    output_errors,
    remove_litter,
    write_atomic,
    write_new,
)
from attncli.store.text import json_line, json_text, path_inside, plain, slug, utf8

MANIFEST = "manifest.json"
PARTIAL = ".partial.jsonl"
"""Results of a run that is not complete (see `partial.py`)."""
_NAMES_OF_PATHS = (
    *("model", "name", "tokenizer", "target_tokenizer", "target-tokenizer", "file", "baseline"),
    *("importance", "rank_file", "rank-file", "save"),
)
SHARDS = ".shards"
"""Folder of the parts of a run on a corpus that is not complete (see `shard_files.py`)."""
SCHEMA = f"attncli.run/{FORMAT}"
_ELSEWHERE = "choose another folder with --out, or replace it with --force"


def input_sha256(texts: Iterable[Text]) -> str:
    """Return the hash of the given texts."""
    sha256 = hashlib.sha256()
    for text in texts:
        fields = [text.text, text.pair, text.target, [dict(message) for message in text.messages]]
        sha256.update(json_line(fields).encode())
    return sha256.hexdigest()


def digest(model: str, revision: str | None, inputs: str, options: Mapping[str, Any]) -> str:
    """Return the twelve hexadecimal digits that name a run: equal for equal model, revision, input and options.

    inputs   `input_sha256` of the texts
    options  resolved options that change the result, in any order; without options of the output (`out`, `force`)
    """
    key = json.dumps([model, revision, inputs, plain(options)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def default_folder(command: str, model: str, digest: str) -> Path:
    """Return the folder of a run without `--out`: `outputs/<command>/<model-slug>/<digest>`."""
    return Path("outputs", command, slug(model), digest)


class OutputFolder:
    """The folder into which one run writes; a run is identified by its command and digest.

    The constructor only checks, so that errors come before long work and a run that fails early leaves no trace. It
    raises `OutputError` if the path is a file or not writable, or, without `force`, if the folder contains another run
    or files that attncli did not write (except dot-files).

    The first file creates the folder and a manifest with `"complete": false`, which claims the folder for this run.
    `finish` writes the final manifest. After an interruption, complete files stay and the same run may continue; any
    other run needs `force`. Repeating a complete run keeps it complete. Two equal runs at the same time write the same
    bytes; of two different runs, the later is refused. Temporary files of runs that were killed are deleted.

    With `csv_safe`, cells of CSV tables that a spreadsheet would run as formulas begin with `'`.

    With `force`, `finish` deletes the unchanged files that the manifest of the former run lists. Other files stay,
    unless a file of this run has the same name.
    """

    def __init__(
        self, path: str | Path, command: str, digest: str, force: bool = False, *, csv_safe: bool = False
    ) -> None:
        self.path = Path(path)
        self.command = command
        self.digest = digest
        self.force = force
        self.csv_safe = csv_safe
        self._files: dict[str, Path] = {}
        self._claimed = False
        self._tidied: set[Path] = set()
        with output_errors(self.path):
            self._check()

    @property
    def written(self) -> tuple[Path, ...]:
        """The paths of the files of this run in the order of writing, without the manifest."""
        return tuple(self._files.values())

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file; return its path. Half surrogates are written as `\\udcff`."""
        return self.write_bytes(name, utf8(text))

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file, completely or not at all; return its path."""
        path = self.path_for(name)
        write_atomic(path, data)
        return path

    def path_for(self, name: str) -> Path:
        """Return the path for a file that the caller writes atomically; the manifest will list it."""
        self.claim()
        path = path_inside(self.path, name)
        if path is None or name == MANIFEST:
            raise OutputError(f"expected a file name inside {self.path}, got {name!r}: choose another name")
        self._make_folder(path.parent)
        self._files[name] = path
        return path

    def add_subfolder(self, name: str) -> None:
        """Add the unchanged files of the run in a subfolder to the manifest."""
        folder = self.path / name
        for file in unchanged(folder, (read_manifest(folder) or {}).get("files")):
            self._files[f"{name}/{file}"] = folder / file

    def finish(self, info: RunInfo, *, alone: bool = False) -> dict[str, Any]:
        """Write the manifest, which completes the run; return it.

        alone  delete unchanged files of an earlier, equal run that this run did not write; else keep and list them
        """
        self.claim()
        manifest = read_manifest(self.path) or {}
        files = {name: _manifest_entry(name, path) for name, path in self._files.items()}
        outdated = unchanged(self.path, manifest.get("replaces"))
        former = unchanged(self.path, manifest.get("files")) if self._is_same_run(manifest) else {}
        if alone:
            outdated |= former
        else:
            files = former | files
        for name in outdated.keys() - files.keys():
            self.path.joinpath(name).unlink(missing_ok=True)
        entries = [files[name] for name in sorted(files)]
        final = {**self._document(complete=True), "run": run_document(info), "files": entries}
        write_atomic(self.path / MANIFEST, json_text(final))
        self.path.joinpath(PARTIAL).unlink(missing_ok=True)
        shutil.rmtree(self.path / SHARDS, ignore_errors=True)
        return final

    def _document(self, complete: bool) -> dict[str, Any]:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        run = {"schema": SCHEMA, "command": self.command, "created": created, "digest": self.digest}
        return {**run, "complete": complete}

    def _is_same_run(self, manifest: Mapping[str, Any]) -> bool:
        return manifest.get("command") == self.command and manifest.get("digest") == self.digest

    def _check(self) -> None:
        existing = check_folder(self.path, "a folder", "choose another folder with --out", NEED_RIGHTS)
        if existing == self.path and not self.force:
            self._check_owner()

    def _check_owner(self) -> None:
        manifest = read_manifest(self.path)
        if manifest is not None and not self._is_same_run(manifest):
            other = f"{manifest.get('command')} {manifest.get('digest')}"
            raise OutputError(f"{self.path} contains another run ({other}): {_ELSEWHERE}")
        if manifest is None:
            names = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            if names:
                listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                raise OutputError(f"{self.path} contains files that attncli did not write ({listed}): {_ELSEWHERE}")

    def _make_folder(self, path: Path) -> None:
        """Create a folder of this run; the first time, remove what a killed run has left in it."""
        make_folder(path)
        if path not in self._tidied:
            remove_litter(path)
            self._tidied.add(path)

    def claim(self) -> None:
        """Claim the folder for this run before its first file; raise OutputError if it belongs to another run."""
        if self._claimed:
            return
        self._make_folder(self.path)
        manifest = {**self._document(complete=False), "files": []}
        if not write_new(self.path / MANIFEST, json_text(manifest).encode()):
            former = read_manifest(self.path) or {}
            if not self._is_same_run(former):
                if not self.force:  # another run claimed the folder since the check
                    self._check_owner()
                lists = (former.get(name) for name in ("files", "replaces"))
                replaces = [entry for entries in lists if isinstance(entries, list) for entry in entries]
                write_atomic(self.path / MANIFEST, json_text({**manifest, "replaces": replaces}))
        self._claimed = True


def run_document(info: RunInfo, *, given: bool = True) -> dict[str, Any]:
    """Return the `run` object of every JSON document.

    Without `given`, the same result always has the same bytes, and paths lose the folders of this machine.
    """
    left_out = {*(() if given else ("given",)), *(() if info.grouped_heads else ("grouped_heads",))}
    fields = {name: value for name, value in vars(info).items() if name not in left_out}
    document = {"class" if name == "cls" else name: plain(value) for name, value in fields.items()}
    if given:
        return document
    notes = [note.replace(info.model, without_folders(info.model)) for note in document["notes"]]
    return {**_paths_without_folders(document), "notes": notes}


def run_info_from(document: Mapping[str, Any]) -> RunInfo:
    """Return where results come from, as the `run` object of a manifest says; KeyError if that is damaged."""
    described = {**document, "cls": document["class"], "notes": tuple(document["notes"])}
    return RunInfo(**{field.name: described[field.name] for field in fields(RunInfo) if field.name in described})


def _paths_without_folders(document: Any, name: str = "") -> Any:
    """Return a document in which the paths of models and of files of rules lose the folders of this machine."""
    if isinstance(document, Mapping):
        return {key: _paths_without_folders(value, key) for key, value in document.items()}
    if isinstance(document, list):
        return [_paths_without_folders(value, name) for value in document]
    return without_folders(document) if name in _NAMES_OF_PATHS and isinstance(document, str) else document


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, in any version; None if attncli did not write one."""
    if not (folder / MANIFEST).is_file():  # a pipe or a device may never end
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(manifest, dict) and str(manifest.get("schema", "")).startswith("attncli.run/")
    return manifest if known else None


def unchanged(folder: Path, entries: object) -> dict[str, dict[str, Any]]:
    """Return the entries of a manifest, by name, whose files are inside the folder and unchanged."""
    entry_by_name = {}
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("name") if isinstance(entry, dict) else None
        path = path_inside(folder, name) if isinstance(name, str) else None
        if path is not None and path.is_file() and _manifest_entry(str(name), path) == entry:
            entry_by_name[str(name)] = entry
    return entry_by_name


def _manifest_entry(name: str, path: Path) -> dict[str, Any]:
    with output_errors(path):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": name, "size": path.stat().st_size, "sha256": sha256}
