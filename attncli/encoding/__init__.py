"""From texts to what a model reads, and what stands at each position of it."""

from __future__ import annotations

from attncli.encoding.batches import Batch, accepted, batch_of, unpadded
from attncli.encoding.repeated import RandomTokens
from attncli.encoding.shuffled import shuffled
from attncli.encoding.texts import encode

__all__ = ["Batch", "RandomTokens", "accepted", "batch_of", "encode", "shuffled", "unpadded"]
