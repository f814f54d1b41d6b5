"""The profile of texts as tables; the long one is written head by head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from attncli.data import Array, Profile
from attncli.store.files import atomic_file
from attncli.store.folder import OutputFolder
from attncli.store.tables import arrow, arrow_table, table_csv, table_jsonl
from attncli.store.text import utf8

SCHEMA = "attncli.profile/1"
Parts = Iterable[Mapping[str, Array]]


def write_profile(folder: OutputFolder, profile: Profile, threshold: float, formats: Iterable[str]) -> None:
    """Write `received`, `sinks`, `distance` and `ends` in those of `formats` that are of tables.

    threshold  how much attention a key gets that is a sink
    """
    for wanted in formats:
        if wanted in _WRITERS:
            tables: dict[str, Parts] = {
                "received": profile.received_tables(),
                "sinks": [profile.sinks_table(threshold)],
                "distance": [profile.distance_table()],
                "ends": [profile.ends_table()],
            }
            for name, parts in tables.items():
                with atomic_file(folder.path_for(f"{name}.{wanted}")) as path:
                    _WRITERS[wanted](path, parts)


def _csv(path: Path, parts: Parts) -> None:
    with path.open("wb") as file:
        for number, part in enumerate(parts):
            file.write(utf8(table_csv(part, header=not number)))


def _jsonl(path: Path, parts: Parts) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(table_jsonl(part).encode())


def _parquet(path: Path, parts: Parts) -> None:
    with ExitStack() as stack:
        writer = None
        for part in parts:
            table = arrow_table(part, SCHEMA)
            if writer is None:
                writer = stack.enter_context(arrow().parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)


_WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
