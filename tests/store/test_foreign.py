"""Maps from elsewhere come in with their labels, or are refused in one line that says what is wrong where."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from attncli.data import Attention
from attncli.errors import UsageError
from attncli.store.foreign import as_inputs, maps_info, open_maps

FIVE = "text,layer,head,query,key"


def read_maps(*args: Any, **options: Any) -> tuple[Attention, ...]:
    return open_maps(*args, **options).maps


def softmax_maps(*shape: int) -> np.ndarray[Any, Any]:
    rows = np.random.default_rng(0).random(shape, dtype=np.float32)
    return rows / rows.sum(-1, keepdims=True)


def save(path: Path, array: np.ndarray[Any, Any], name: str = "maps") -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, **{name: array})
    else:
        save_file({name: np.ascontiguousarray(array)}, path)
    return path


def write(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as refused:
        read_maps(*args, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ------------------------------------------------------------------------------------------------ what comes in


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("lead", [(), (2,), (3, 2), (2, 3, 2)])
def test_two_to_five_axes_become_maps(tmp_path: Path, suffix: str, lead: tuple[int, ...]) -> None:
    array = softmax_maps(*lead, 4, 4)
    axes = ",".join(("text", "layer", "head", "query", "key")[-array.ndim :])
    maps = read_maps(save(tmp_path / f"a{suffix}", array), axes=axes)
    five = array.reshape((1,) * (3 - len(lead)) + lead + (4, 4))
    assert [one.text for one in maps] == list(range(len(five)))
    for one, stack in zip(maps, five, strict=True):
        np.testing.assert_array_equal(one.stack(), stack)
        assert [layer.layer for layer in one.layers] == list(range(stack.shape[0]))
        assert {layer.heads for layer in one.layers} == {tuple(range(stack.shape[1]))}
        assert {layer.visible for layer in one.layers} == {None}
        assert one.kind == "encoder"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int64", "bool"])
def test_numbers_of_any_type_become_float32(tmp_path: Path, dtype: str) -> None:
    eye = np.eye(3)[::-1].astype(dtype)
    (one,) = read_maps(save(tmp_path / "a.npy", eye))
    assert one.values.dtype == np.float32
    np.testing.assert_array_equal(one.values, np.eye(3)[::-1])


def test_rows_in_half_precision_may_sum_to_slightly_more_than_one(tmp_path: Path) -> None:
    rows = np.full((1, 3), 0.3345, np.float16)
    assert rows.astype(float).sum() > 1.003
    assert len(read_maps(save(tmp_path / "a.npy", rows))) == 1
    assert "rows that sum to 1 or less" in refusal(save(tmp_path / "b.npy", rows.astype(np.float32)))


def test_without_labels_tokens_are_positions(tmp_path: Path) -> None:
    (one,) = read_maps(save(tmp_path / "a.npy", softmax_maps(2, 3)))
    assert (one.queries.pieces, one.keys.pieces) == (("0", "1"), ("0", "1", "2"))
    assert one.kind == "cross"


def test_labels_name_both_sides_of_a_square_map(tmp_path: Path) -> None:
    labels = write(tmp_path / "tokens.txt", "age\n income\t\nzip code\n")
    (one,) = read_maps(save(tmp_path / "a.npy", softmax_maps(3, 3)), labels)
    assert one.queries.pieces == ("age", " income\t", "zip code")
    assert one.keys is one.queries
    assert one.kind == "encoder"


def test_other_labels_for_keys_make_it_cross_attention(tmp_path: Path) -> None:
    labels, keys = write(tmp_path / "q.txt", "a\nb"), write(tmp_path / "k.txt", "c\nd")
    path = save(tmp_path / "a.npy", softmax_maps(2, 2))
    (one,) = read_maps(path, labels, keys)
    assert (one.kind, one.queries.pieces, one.keys.pieces) == ("cross", ("a", "b"), ("c", "d"))
    (same,) = read_maps(path, labels, labels)
    assert (same.kind, same.keys) == ("encoder", same.queries)


def test_hostile_labels_are_kept_exactly(tmp_path: Path) -> None:
    in_lines = [text for text in HOSTILE if "\n" not in text]
    path = save(tmp_path / "a.npy", softmax_maps(len(in_lines), len(in_lines)))
    assert read_maps(path, write(tmp_path / "t.txt", "\n".join(in_lines) + "\n"))[0].keys.pieces == tuple(in_lines)
    path = save(tmp_path / "b.npy", softmax_maps(len(HOSTILE), len(HOSTILE)))
    assert read_maps(path, write(tmp_path / "t.json", json.dumps(HOSTILE)))[0].keys.pieces == tuple(HOSTILE)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")), min_size=1, max_size=5))
def test_any_labels_are_read_back_with_either_end_of_line(labels: list[str]) -> None:
    if labels[0].startswith("\ufeff"):
        labels[0] = "x"
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder, "a.npy"), softmax_maps(len(labels), len(labels)))
        for end in ("\n", "\r\n"):
            text = "".join(label + end for label in labels)
            assert read_maps(path, write(Path(folder, "t.txt"), text))[0].keys.pieces == tuple(labels)


def test_a_carriage_return_on_some_lines_belongs_to_the_label(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(2, 2))
    assert read_maps(path, write(tmp_path / "t.txt", "a\r\nb\n"))[0].keys.pieces == ("a\r", "b")


# ------------------------------------------------------------------------------------------------ causal maps


def test_zeros_above_the_diagonal_mean_causal(tmp_path: Path) -> None:
    causal = np.tril(softmax_maps(2, 2, 2, 4, 4))
    causal[1, 1, 1, 0, 3] = 1e-6
    first, second = read_maps(save(tmp_path / "a.npy", causal), kind="decoder", axes=FIVE)
    for maps in first.layers:
        np.testing.assert_array_equal(maps.visible, np.tri(4, dtype=bool)[None])
    assert {maps.visible for maps in second.layers} == {None}


def test_one_token_and_cross_attention_are_never_causal(tmp_path: Path) -> None:
    (one,) = read_maps(save(tmp_path / "a.npy", np.ones((1, 1))))
    assert one.layers[0].visible is None
    (cross,) = read_maps(save(tmp_path / "b.npy", np.eye(3)), kind="cross")
    assert cross.layers[0].visible is None


# ------------------------------------------------------------------------------------------------ inputs and source


def test_maps_have_inputs_with_their_tokens(tmp_path: Path) -> None:
    square = read_maps(save(tmp_path / "a.npy", softmax_maps(2, 1, 1, 3, 3)), axes=FIVE)
    first, second = as_inputs(square)
    assert (first.index, second.index) == (0, 1)
    assert second.sides("encoder") == (square[1].queries, square[1].keys)
    (cross,) = read_maps(save(tmp_path / "b.npy", softmax_maps(2, 3)))
    (one,) = as_inputs([cross])
    assert one.sides("cross") == (cross.queries, cross.keys)


def test_the_run_is_described_by_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(2, 2))
    about = maps_info(path)
    assert (about.model, about.capture) == ("a.npy", "file")
    assert about.input_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("shape", [(3,), (1, 1, 1, 1, 3, 3), ()])
def test_a_wrong_number_of_axes_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.npy", np.ones(shape))
    assert refusal(path) == (
        f"{path}: expected 2 to 5 axes (query, key; optionally head, layer and text before them), "
        f"got {len(shape)}, shape {shape}: reshape the array"
    )


def test_an_empty_axis_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.ones((2, 0, 3)))
    assert refusal(path) == f"{path}: expected at least one entry on each axis, got shape (2, 0, 3)"


@pytest.mark.parametrize("array", [np.ones((2, 2), complex), np.full((2, 2), "a"), np.zeros((2, 2), "M8[s]")])
def test_arrays_without_numbers_are_refused(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    path = save(tmp_path / "a.npy", array)
    assert refusal(path) == f"{path}: expected an array of numbers, got dtype {array.dtype}: save it as float32"


@pytest.mark.parametrize(
    ("value", "expected", "got", "place"),
    [
        (np.nan, "finite numbers", "nan", "key 3"),
        (np.inf, "finite numbers", "inf", "key 3"),
        (-0.5, "weights from 0 to 1 (not scores)", "-0.5", "key 3"),
        (2.0, "rows that sum to 1 or less", "", ""),
    ],
)
def test_errors_name_the_position_of_the_first_invalid_weight(
    tmp_path: Path, value: float, expected: str, got: str, place: str
) -> None:
    array = softmax_maps(2, 3, 2, 4, 4)
    array[1, 2, 0, 1, 3] = value
    message = refusal(save(tmp_path / "a.npy", array), axes=FIVE)
    assert f"expected {expected}, got {got}" in message
    wanted = ", ".join(filter(None, ["text 1, layer 2, head 0, query 1", place]))
    assert message.endswith(f" at {wanted}: check the array")


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(3, 3))
    labels = write(tmp_path / "t.txt", "a\nb\n")
    message = f"expected one label for each of the 3 queries in {path}, got 2 in {labels}: one per line"
    assert refusal(path, labels) == message
    wide = save(tmp_path / "b.npy", softmax_maps(2, 3))
    assert refusal(wide, labels) == (
        f"{wide} has 2 queries and 3 keys: --labels names the queries, name the keys with --key-labels"
    )
    assert refusal(wide, labels, labels).startswith(f"expected one label for each of the 3 keys in {wide}, got 2")


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", "[", "[" * 100_000])
def test_labels_in_broken_json_are_refused(tmp_path: Path, content: str) -> None:
    labels = write(tmp_path / "t.json", content)
    assert refusal(save(tmp_path / "a.npy", softmax_maps(2, 2)), labels).startswith(str(labels))


def test_labels_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\n\xff\n")
    assert "is not UTF-8 (0xff at byte 2, line 2)" in refusal(
        save(tmp_path / "a.npy", softmax_maps(2, 2)), tmp_path / "t.txt"
    )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_self_attention_needs_the_same_tokens_on_both_sides(tmp_path: Path, kind: Any) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(2, 3))
    message = f"{path}: maps of kind '{kind}' have the same tokens as queries and keys, these differ: use --kind cross"
    assert refusal(path, kind=kind).startswith(message)


def test_an_unknown_kind_offers_close_names(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(2, 2))
    assert refusal(path, kind="cros") == "unknown kind 'cros': did you mean 'cross'?"


def test_one_of_several_arrays_must_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, maps=softmax_maps(2, 2), more=softmax_maps(3, 3))
    assert refusal(path) == (
        f"expected one array in {path}, got 2 (maps, more): choose one with --array, or name them layer_0, "
        "layer_1, … if each is a layer"
    )
    assert refusal(path, array="mops") == f"{path} has no array 'mops': did you mean 'maps'?"
    assert read_maps(path, array="more")[0].values.shape == (3, 3)
    np.savez(path)
    assert refusal(path) == f"expected one array in {path}, got 0: save the maps in it first"


def test_pickled_objects_are_refused_and_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    bomb = np.array([Bomb()], dtype=object)
    np.save(tmp_path / "a.npy", bomb, allow_pickle=True)
    np.savez(tmp_path / "b.npz", maps=softmax_maps(2, 2), bomb=bomb)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(bomb))
    for name in ("a.npy", "c.npy"):
        assert refusal(tmp_path / name).endswith("expected plain numbers, no pickles")
    assert refusal(tmp_path / "b.npz", array="bomb").endswith("expected plain numbers, no pickles")
    assert read_maps(tmp_path / "b.npz", array="maps")[0].values.shape == (2, 2)
    assert not ran.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("size", [0, 7, 90])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, size: int) -> None:
    path = save(tmp_path / f"a{suffix}", softmax_maps(8, 8))
    path.write_bytes(path.read_bytes()[:size])
    assert refusal(path).startswith(f"cannot read {path}: ")


def test_types_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"maps": {"dtype": "BF16", "shape": [1, 1], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, sys.byteorder) + header + b"\x80\x3f")
    # ml_dtypes, which Keras loads, adds the type to NumPy
    assert "save it as float32" in refusal(tmp_path / "a.safetensors")


def test_files_without_arrays_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "1 2")
    assert (
        refusal(path) == f"cannot tell what {path} is: expected a file that ends in .npz, .npy, .safetensors, .pt, .pth"
    )
    assert refusal(tmp_path / "b.npy").startswith(f"no such file: {tmp_path / 'b.npy'}")
    assert "is a folder" in refusal(tmp_path)


# ------------------------------------------------------------------------------------------------ axes


@pytest.mark.parametrize(
    ("shape", "readings"),
    [
        ((3, 2, 4, 4), ("layer,head,query,key (3 layers of one text)", "text,head,query,key (3 texts and one layer)")),
        (
            (6, 1, 2, 4, 4),
            ("layer,text,head,query,key (6 layers, 1 text)", "text,layer,head,query,key (6 texts, 1 layer)"),
        ),
        (
            (1, 6, 2, 4, 4),
            ("layer,text,head,query,key (1 layer, 6 texts)", "text,layer,head,query,key (1 text, 6 layers)"),
        ),
    ],
)
def test_a_shape_with_two_readings_is_refused(
    tmp_path: Path, shape: tuple[int, ...], readings: tuple[str, str]
) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(*shape))
    first, second = readings
    assert refusal(path) == f"{path}: shape {shape} can be read as {first} or as {second}: say which with --axes"


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 2, 4, 4), (1, 1, 2, 4, 4)])
def test_a_shape_with_one_reading_needs_no_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = softmax_maps(*shape)
    (one,) = read_maps(save(tmp_path / "a.npy", array))
    np.testing.assert_array_equal(one.stack()[0], array.reshape((-1, 4, 4)))


@given(st.permutations(["text", "layer", "head", "query", "key"]), st.integers(0, 3))
def test_axes_in_any_order_are_the_same_maps(order: list[str], left_out: int) -> None:
    sizes = {"text": 2, "layer": 3, "head": 4, "query": 5, "key": 6}
    for axis in ("text", "layer", "head")[:left_out]:
        order = [name for name in order if name != axis]
        sizes[axis] = 1
    ordered = softmax_maps(*sizes.values())
    full = ordered.transpose([list(sizes).index(axis) for axis in [*(set(sizes) - set(order)), *order]])
    array = full.reshape([sizes[axis] for axis in order])
    with tempfile.TemporaryDirectory() as folder:
        axes = ", ".join("batch" if axis == "text" else axis for axis in order)
        maps = read_maps(save(Path(folder, "a.npy"), array), axes=axes)
    for text, one in enumerate(maps):
        np.testing.assert_array_equal(one.stack(), ordered[text])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("head,query", "expected --axes with query and key, and each axis once, got 'head,query'"),
        ("query,key,key", "expected --axes with query and key, and each axis once, got 'query,key,key'"),
        ("haed,query,key", "unknown axis 'haed' in --axes: did you mean 'head'?"),
        ("", "unknown axis '' in --axes: known are: batch, head, key, layer, query, text"),
        ("query,key", "--axes names 2 axes, the array has 3, shape (2, 4, 4)"),
    ],
)
def test_wrong_axes_are_refused(tmp_path: Path, axes: str, message: str) -> None:
    assert refusal(save(tmp_path / "a.npy", softmax_maps(2, 4, 4)), axes=axes).endswith(message)


def test_a_guessed_axis_is_named_in_the_notes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", softmax_maps(2, 4, 4))
    note = "the axes of the maps, (2, 4, 4), are read as head,query,key: --axes says otherwise"
    assert open_maps(path).info.notes == (note,)
    assert open_maps(path, axes="head,query,key").info.notes == ()
    assert len(open_maps(path, axes="batch,query,key").maps) == 2


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", ["layer_{}", "encoder.layer.{}.attention", "Layer {}"])
def test_one_array_per_layer_is_read_by_its_number(tmp_path: Path, suffix: str, name: str) -> None:
    layers = {number: softmax_maps(1, 1 + number % 2, 4, 4) for number in (2, 10, 0)}
    arrays = {name.format(number): array for number, array in layers.items()}
    path = tmp_path / f"a{suffix}"
    np.savez(path, **arrays) if suffix == ".npz" else save_file(arrays, path)
    (one,) = read_maps(path)
    assert [maps.layer for maps in one.layers] == [0, 2, 10]
    for maps in one.layers:
        np.testing.assert_array_equal(maps.weights, layers[int(maps.layer)][0])
    assert read_maps(path, array=name.format(2))[0].layers[0].layer == 0


def test_layers_of_other_texts_or_tokens_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", layer_0=softmax_maps(2, 4, 4), layer_1=softmax_maps(2, 5, 5))
    assert "expected the same texts, queries and keys in every layer" in refusal(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", layer_0=softmax_maps(2, 4, 4), layer_1=softmax_maps(2, 4, 4))
    assert "each array is one layer" in refusal(tmp_path / "b.npz", axes="layer,query,key")


# ------------------------------------------------------------------------------------------------ sizes and damage


def test_sizes_are_read_before_the_arrays(tmp_path: Path) -> None:
    sizes: list[int] = []

    def fits(needed: int) -> None:
        sizes.append(needed)
        raise UsageError("too large")

    for suffix in (".npy", ".npz", ".safetensors"):
        path = save(tmp_path / f"a{suffix}", softmax_maps(2, 100, 100))
        with pytest.raises(UsageError, match="too large"):
            read_maps(path, fits=fits)
    with pytest.raises(UsageError, match="too large"):
        read_maps(save(tmp_path / "b.npy", np.full((100, 100), 0.01)), fits=fits)
    assert sizes == [80_000, 80_000, 80_000, 80_000 + 40_000]


def npy(shape: str, descr: str = "<f4", data: bytes = b"\0" * 64) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        npy("(True, 2)"),
        npy("(2, -2)"),
        npy("(2.0, 2)"),
        npy("(100000, 100000)"),
        npy("(10000000000000000000000000000000, 2)"),
        npy("(2, 2"),
        npy("(2, 2)", "|O"),
        npy("(2, 2)", "zz"),
        npy("(" * 500 + "2"),
        b"\x93NUMPY\x03\x00\x01\x00\x00\x00 ",
        b"PK\x03\x04",
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_broken_header_is_refused(tmp_path: Path, content: bytes, inside: bool) -> None:
    path = tmp_path / ("a.npz" if inside else "a.npy")
    if inside:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("maps.npy", content)
    else:
        path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"cannot read {path}: ")
    assert len(message) < 500


def test_an_npz_of_text_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tokens.txt", "a b")
    assert refusal(path) == f"expected one array in {path}, got 0: save the maps in it first"
    np.savez(path, tokens=np.array(["a", "b"]))
    assert "expected an array of numbers, got dtype <U1" in refusal(path)
