"""Numbers in few bytes: their largest error, undefined rows, and equal parts that are stored once."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.page.blobs import Blobs, encode_vectors, encode_weights


@given(seed=st.integers(0, 10**6), sharp=st.sampled_from([0.1, 3.0, 30.0]), lost=st.sampled_from([0.0, 0.9]))
def test_weights_are_off_by_at_most_half_a_step_of_their_row(seed: int, sharp: float, lost: float) -> None:
    scores = np.random.default_rng(seed).normal(size=(2, 5, 9)) * sharp
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True) * (1 - lost)
    scale, codes = encode_weights(weights.astype(np.float32))
    assert codes.dtype == np.uint8
    assert np.array_equal(scale, weights.astype(np.float32).max(-1))
    assert np.array_equal(codes.max(-1), np.full((2, 5), 255))
    off = np.abs((codes / 255) ** 2 * scale[..., None] - weights)
    assert (off <= weights.max(-1, keepdims=True) * (1 / 255 + 1e-6)).all()


def test_a_row_by_hand() -> None:
    scale, codes = encode_weights(np.array([[[0.5, 0.25, 0.001, 0.0]]], np.float32))
    assert scale.tolist() == [[0.5]]
    assert codes.tolist() == [[[255, 180, 11, 0]]]


def test_undefined_and_empty_rows() -> None:
    weights = np.array([[[np.nan, np.nan], [0, 0], [1e-42, 0]]], np.float32)
    scale, codes = encode_weights(weights)
    assert np.isnan(scale[0, 0])
    assert scale[0, 1] == 0
    assert codes.tolist() == [[[0, 0], [0, 0], [255, 0]]]


def test_vectors_keep_their_signs() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    vectors[1, 1] = 0
    scale, codes = encode_vectors(vectors)
    assert codes.dtype == np.int16
    off = np.abs(codes / 32767 * scale[..., None] - vectors)
    assert (off <= np.abs(vectors).max(-1, keepdims=True) * (1 / 65534 + 1e-7)).all()


def test_equal_parts_are_kept_once_and_are_the_same_bytes_each_time() -> None:
    blobs, again = Blobs(), Blobs()
    one, other = np.arange(6, dtype=np.uint8), np.arange(7, dtype=np.uint8)
    assert [blobs.add([one]), blobs.add([other]), blobs.add([one[:2], one[2:]])] == [0, 1, 0]
    again.add([one])
    assert again.compressed[0] == blobs.compressed[0]
    assert zlib.decompress(blobs.compressed[1]) == other.tobytes()


@pytest.mark.parametrize("dtype", [">f4", "<f4"])
def test_numbers_are_little_endian(dtype: str) -> None:
    blobs = Blobs()
    blobs.add([np.array([1.0], dtype), np.array([258], np.uint16)])
    assert zlib.decompress(blobs.compressed[0]) == b"\x00\x00\x80\x3f\x02\x01"
