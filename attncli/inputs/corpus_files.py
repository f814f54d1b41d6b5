"""The files of a corpus: those that a pattern matches, those in a folder, or one; always in the same order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.compressed import COMPRESSIONS, compression
from attncli.inputs.text_files import check_exists, close_names
from attncli.inputs.text_rows import TABLES
from attncli.paths import what_is_at

SUFFIXES = (".txt", *TABLES)
"""Suffixes of the files that a folder is read for; each but .parquet may be followed by one of a compression."""
_MAGIC = re.compile(r"[*?[]")
_SHOWN = 3


class CorpusFile(NamedTuple):
    """A file of a corpus; its name is relative to the folder that all of them lie in, with `/` between parts."""

    path: Path
    name: str


class CorpusFiles(NamedTuple):
    """The files of a corpus in their order, and notes on files that are left out."""

    files: tuple[CorpusFile, ...]
    notes: tuple[str, ...] = ()


def is_pattern(path: str) -> bool:
    """Return whether a path is a pattern such as `corpus/*.jsonl`, rather than the name of a file or folder."""
    return _MAGIC.search(path) is not None and what_is_at(path) == "nothing"


def is_corpus(path: str) -> bool:
    """Return whether a path is a corpus in any case: a folder, a pattern, or a compressed file.

    A plain file is one too if it has more texts than are read at once.
    """
    return is_pattern(path) or what_is_at(path) == "folder" or bool(compression(Path(path)))


def find_corpus_files(path: str) -> CorpusFiles:
    """Return the files of a corpus; raise UsageError if there are none.

    path  a file, a folder with files of known suffixes at any depth, or a pattern with `*`, `?`, `[…]` and `**`
    """
    if is_pattern(path):
        return _matching_files(path)
    if what_is_at(path) != "folder":
        check_exists(path)
        return CorpusFiles((CorpusFile(Path(path), Path(path).name),))
    folder = Path(path)
    return _chosen(folder, list(_files_in(folder)), f"{path} has no file with texts: expected {_known()}")


def has_known_suffix(path: Path) -> bool:
    """Return whether a folder is read for such a file.

    >>> [has_known_suffix(Path(name)) for name in ("a.csv.gz", "A.JSONL", "a.parquet.gz", "README.md")]
    [True, True, False, False]
    """
    suffix = path.suffix.lower()
    if compression(path):
        suffix = Path(path.stem).suffix.lower()
        return suffix in SUFFIXES and suffix != ".parquet"
    return suffix in SUFFIXES


def _known() -> str:
    return f"{', '.join(SUFFIXES)}, and {' or '.join(COMPRESSIONS)} of them"


def _matching_files(pattern: str) -> CorpusFiles:
    """Return the files that a pattern matches; linked folders are not entered by `**`, so that no file comes twice."""
    try:  # a shell does not replace ~ in quotes
        parts = Path(pattern).expanduser().parts
    except RuntimeError as error:
        raise UsageError(f"no file matches {pattern}: the user whose home folder it names is unknown") from error
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    folder, rest = Path(*parts[:first]), parts[first:]
    if rest[-1] == "**":
        rest = (*rest, "*")
    if what_is_at(folder) != "folder":
        raise UsageError(f"no file matches {pattern}: there is no folder {folder}{close_names(folder)}")
    try:
        matches = [path for path in folder.glob("/".join(rest)) if not _is_hidden(path.relative_to(folder), rest)]
    except ValueError as error:
        raise UsageError(f"{pattern} is no pattern: ** stands for folders, so it is a part of its own") from error
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror or error}") from error
    if not matches and not {"*", "?"} & set(pattern):  # more likely a name with brackets
        check_exists(pattern)
    named = Path(rest[-1]).suffix.lower()
    wanted = "" if _MAGIC.search(named) else named
    empty = f"no file matches {pattern}: {_similar(folder, rest)}"
    any_depth = "**" in rest
    return _chosen(folder, [path for path in matches if not (any_depth and path.is_dir())], empty, wanted)


def _chosen(folder: Path, paths: Sequence[Path], empty: str, wanted: str = "") -> CorpusFiles:
    """Return the files with a known suffix, or the one that a pattern names, sorted by their relative names.

    empty   the error if there are none
    """
    named = [CorpusFile(path, path.relative_to(folder).as_posix()) for path in paths]
    named.sort(key=lambda file: os.fsencode(file.name))
    files: list[CorpusFile] = []
    ignored: list[str] = []
    for file in named:
        if _is_chosen(file.path, wanted):
            files.append(file)
        else:
            ignored.append(f"{file.name}/" if file.path.is_dir() else file.name)
    if not files:
        raise UsageError(f"{empty}{f'; ignored {_listed(ignored)}' if ignored else ''}")
    for file in files:
        check_exists(file.path)
    notes = (f"ignored {_listed(ignored)}: expected {_known()}",) if ignored else ()
    return CorpusFiles(tuple(files), notes)


def _is_chosen(path: Path, wanted: str) -> bool:
    if path.is_dir():
        return False
    return has_known_suffix(path) or (wanted != "" and path.suffix.lower() == wanted)


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those within, without hidden ones, and linked folders, which it skips."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror or error}") from error

    for name, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        yield from (Path(name, file) for file in files if not file.startswith("."))
        yield from (path for path in (Path(name, inner) for inner in folders) if path.is_symlink())


def _is_hidden(path: Path, pattern: Sequence[str]) -> bool:
    """Return whether a part of a path begins with a dot, unless a part of the pattern does."""
    return any(part.startswith(".") for part in path.parts) and not any(part.startswith(".") for part in pattern)


def _similar(folder: Path, rest: Sequence[str]) -> str:
    """Return what a pattern without a match may have meant: names in its folder, by their likeness to its last part."""
    files = [path for path in _files_in(folder) if not path.is_dir() and (len(rest) > 1 or path.parent == folder)]
    return did_you_mean(rest[-1], {path.name for path in files}) if files else f"{folder} has no files"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(' '.join(name.split()) for name in names[:_SHOWN])}{more}"
