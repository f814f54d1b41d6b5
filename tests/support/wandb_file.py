"""The records of an offline file of W&B, which is a log of LevelDB after a header of 7 bytes."""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32768, 7


def history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the numbers of each call of `wandb.log`."""
    pb2 = importlib.import_module("wandb.proto.wandb_internal_pb2")
    for data in _records(path.read_bytes()):
        record = pb2.Record()
        record.ParseFromString(data)
        items = record.history.item
        if items:
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records; one is in several parts where it does not fit into a block."""
    at, parts = _HEADER, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # no header fits into the rest of the block
            at += _BLOCK - at % _BLOCK
            continue
        _, length, part = struct.unpack("<IHB", data[at : at + _HEADER])
        if part == 0:
            at += _BLOCK - at % _BLOCK
            continue
        parts += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if part in (1, 4):  # the whole record, or its last part
            yield parts
            parts = b""
