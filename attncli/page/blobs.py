"""The binary parts of the page: numbers in as few bytes as the eye allows, little endian, compressed, kept once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from attncli.data import Array

LEVEL = 6
"""Of the nine of zlib: the ninth takes four times as long for 1.5 % less on maps of MiniLM, the first is 8 % larger."""
CODES = 255
VECTOR_CODES = 32767


class Blobs:
    """Collects parts under numbers; an equal part is kept once."""

    def __init__(self) -> None:
        self.compressed: list[bytes] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, parts: Sequence[Array]) -> int:
        """The number of a part made of these arrays, one after the other."""
        data = b"".join(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes() for part in parts)
        digest = hashlib.sha256(data).digest()
        if digest not in self._numbers:
            self._numbers[digest] = len(self.compressed)
            self.compressed.append(zlib.compress(data, LEVEL))
        return self._numbers[digest]


def coded_weights(weights: Array) -> tuple[Array, Array]:
    """[head, row, key] in 8 bits: `weight ≈ (code / 255)² · scale`, off by less than 1/255 of the row's largest weight.

    By the square small weights keep more of themselves: one of 1/100 of the largest is off by at most 1/2500 of it,
    five times less than in even steps. Readers that leave sinks out and scale the rest up need that.
    Returns scale [head, row] float32, which is the largest weight, NaN where the row is undefined, and code uint8.
    """
    undefined = np.logical_or.reduce(np.isnan(weights), axis=-1)
    defined = np.where(undefined[..., None], np.float32(0), weights)
    scale = defined.max(-1, initial=0).astype(np.float32)
    codes = np.empty(weights.shape, np.uint8)
    for head, (one, largest) in enumerate(zip(defined, scale, strict=True)):  # all at once would take twice their room
        codes[head] = weight_codes(one, largest[:, None])
    return np.where(undefined, np.float32(np.nan), scale), codes


def weight_codes(weights: Array, largest: Array) -> Array:
    """The codes of weights, given the largest of their rows."""
    shares = np.divide(weights, largest, out=np.zeros(weights.shape, np.float32), where=largest > 0)
    codes: Array = np.rint(np.sqrt(shares.clip(0, 1)) * CODES).astype(np.uint8)
    return codes


def coded_vectors(vectors: Array) -> tuple[Array, Array]:
    """[head, token, dim] in 16 bits: `value ≈ code / 32767 · scale`, scale [head, token] the largest magnitude."""
    scale = np.abs(vectors).max(-1, initial=0).astype(np.float32)
    factor = np.divide(VECTOR_CODES, scale, out=np.zeros(scale.shape), where=scale > 0)
    return scale, np.rint(vectors * factor[..., None]).astype(np.int16)


def bits(visible: Array) -> Array:
    """Which keys each row sees, eight to the byte, the first in the highest bit."""
    return np.packbits(visible)
