"""The folder of a run: whose it is, what is in it, and the manifest that says so."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attncli.data import FORMAT, RunInfo, Text
from attncli.errors import OutputError
from attncli.store.files import NEED_RIGHTS, cannot_write, make_folder, write_atomic, write_new
from attncli.store.text import json_line, json_text, path_inside, plain, slug, utf8

MANIFEST = "manifest.json"
SCHEMA = f"attncli.run/{FORMAT}"
RUN_KEYS = (
    *("model", "revision", "class", "architecture", "dtype", "device", "capture", "tokenizer", "versions"),
    *("given", "resolved", "notes", "seed", "input_sha256", "format"),
)
_ELSEWHERE = "choose another folder with --out, or replace it with --force"


def input_sha256(texts: Iterable[Text]) -> str:
    """The hash of what was given as input, text by text."""
    digest = hashlib.sha256()
    for text in texts:
        whole = [text.text, text.pair, text.target, [dict(message) for message in text.messages]]
        digest.update(json_line(whole).encode())
    return digest.hexdigest()


def digest(model: str, revision: str | None, inputs: str, options: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that name a run: equal for equal model, revision, input and resolved options.

    inputs   `input_sha256` of the texts
    options  what changes the result, in any order; where it goes (`out`, `force`) does not belong there
    """
    whole = json.dumps([model, revision, inputs, plain(options)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def default_folder(command: str, model: str, digest: str) -> Path:
    """Where a run goes unless `--out` says otherwise: `outputs/<command>/<model-slug>/<digest>`."""
    return Path("outputs", command, slug(model), digest)


class OutputFolder:
    """The folder that one run writes into.

    A run is its command and its digest. Making an `OutputFolder` only looks, so that a refusal comes before
    the long work and a run that fails early leaves no trace: `OutputError` when the path is a file or may
    not be written, or when the folder holds another run or a stranger's files (dot-files do not count) and
    `force` is off.

    The first file written makes the folder and puts a manifest with `"complete": false` there: the folder
    is taken. `finish` writes the whole manifest last. If a run is interrupted, its finished files stay
    whole, the same run may take the folder up again, any other needs `force`. A complete run that is done
    again stays complete all along. Two equal runs at once write the same files with the same bytes, each
    replaced in one step; of two different ones at once the later is refused.

    With `force`, files that the former run's manifest lists and nobody has changed go away at the end; a
    stranger's files stay, except where a file of the run has the same name.
    """

    def __init__(self, path: str | Path, command: str, digest: str, force: bool = False) -> None:
        self.path = Path(path)
        self.command = command
        self.digest = digest
        self.force = force
        self._files: dict[str, Path] = {}
        self._claimed = False
        self._check()

    @property
    def written(self) -> tuple[Path, ...]:
        """The files of this run in the order of writing, without the manifest."""
        return tuple(self._files.values())

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file; half surrogates, which UTF-8 cannot hold, are written as `\\udcff`."""
        return self.write_bytes(name, utf8(text))

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file whole or not at all."""
        path = self.path_for(name)
        write_atomic(path, data)
        return path

    def path_for(self, name: str) -> Path:
        """Where to write a file of this name (whole or not at all); the manifest will list it."""
        self.claim()
        path = path_inside(self.path, name)
        if path is None or name == MANIFEST:
            raise OutputError(f"expected a file name inside {self.path}, got {name!r}: name the file otherwise")
        if path.parent != self.path:
            make_folder(path.parent)
        self._files[name] = path
        return path

    def holds(self, name: str) -> None:
        """A file of this name is there, which another folder within this one wrote: the manifest will list it."""
        self._files[name] = self.path / name

    def finish(self, info: RunInfo, *, alone: bool = False) -> dict[str, Any]:
        """Write the manifest, which makes the run complete; returns it.

        alone  files of an earlier such run that this one did not write go away, unless they were changed
        """
        self.claim()
        manifest = read_manifest(self.path) or {}
        files = {name: _entry(name, path) for name, path in self._files.items()}
        gone: dict[str, dict[str, Any]] = {}
        if self._is_ours(manifest):
            former = unchanged(self.path, manifest.get("files"))
            files, gone = (files, former) if alone else ({**former, **files}, {})
        for name in (gone | unchanged(self.path, manifest.get("replaces"))).keys() - files.keys():
            self.path.joinpath(name).unlink(missing_ok=True)
        whole = {
            **self._document(complete=True),
            "run": run_document(info),
            "files": [files[name] for name in sorted(files)],
        }
        write_atomic(self.path / MANIFEST, json_text(whole).encode())
        return whole

    def _document(self, complete: bool) -> dict[str, Any]:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {
            "schema": SCHEMA,
            "command": self.command,
            "created": created,
            "digest": self.digest,
            "complete": complete,
        }

    def _is_ours(self, manifest: Mapping[str, Any]) -> bool:
        return manifest.get("command") == self.command and manifest.get("digest") == self.digest

    def _check(self) -> None:
        try:
            self._check_path()
        except OSError as error:
            raise error if isinstance(error, OutputError) else cannot_write(self.path, error) from error

    def _check_path(self) -> None:
        above = self.path
        while not above.exists() and above != above.parent:
            above = above.parent
        if not above.is_dir():
            raise OutputError(f"expected a folder, but {above} is a file: choose another folder with --out")
        if not os.access(above, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write {self.path}: {above} may not be written to; {NEED_RIGHTS}")
        if above == self.path and not self.force:
            self._check_owner()

    def _check_owner(self) -> None:
        manifest = read_manifest(self.path)
        if manifest is not None and not self._is_ours(manifest):
            other = f"{manifest.get('command')} {manifest.get('digest')}"
            raise OutputError(f"{self.path} holds another run ({other}): {_ELSEWHERE}")
        if manifest is None:
            strangers = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            if strangers:
                raise OutputError(f"{self.path} holds files that are not of a run ({_some(strangers)}): {_ELSEWHERE}")

    def claim(self) -> None:
        """Take the folder for this run before its first file is there; an `OutputError` where another has it."""
        if self._claimed:
            return
        make_folder(self.path)
        manifest = {**self._document(complete=False), "files": []}
        if not write_new(self.path / MANIFEST, json_text(manifest).encode()):
            former = read_manifest(self.path) or {}
            if not self._is_ours(former):
                if not self.force:  # another run took the folder since we looked
                    self._check_owner()
                replaces = former.get("files", []) + former.get("replaces", [])
                write_atomic(self.path / MANIFEST, json_text({**manifest, "replaces": replaces}).encode())
        self._claimed = True


def manifest_files(folder: Path) -> list[str]:
    """The files of the run in this folder, as its manifest has them."""
    return list(unchanged(folder, (read_manifest(folder) or {}).get("files")))


def run_document(info: RunInfo, *, given: bool = True) -> dict[str, Any]:
    """Where a result comes from, as the `run` object of every JSON document.

    given  with what was given on the command line; without it the same result has the same bytes wherever it was sent
    """
    fields = {field.name: plain(getattr(info, field.name)) for field in dataclasses.fields(info)}
    fields["class"] = fields.pop("cls")
    return {name: fields[name] for name in RUN_KEYS if given or name != "given"}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run in this folder, whatever its version; None where there is none of ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(manifest, dict) and str(manifest.get("schema", "")).startswith("attncli.run/")
    return manifest if ours else None


def unchanged(folder: Path, entries: Any) -> dict[str, dict[str, Any]]:
    """The files of a manifest that are there as listed, by name; those outside are left out."""
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("name") if isinstance(entry, dict) else None
        path = path_inside(folder, name) if isinstance(name, str) else None
        if path is not None and path.is_file() and _entry(str(name), path) == entry:
            found[str(name)] = entry
    return found


def _entry(name: str, path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": name, "size": path.stat().st_size, "sha256": sha256}
    except OSError as error:
        raise cannot_write(path, error) from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
