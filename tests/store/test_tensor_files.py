"""Tensors that Transformers returned and PyTorch saved are read as the maps that they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attncli.errors import UsageError
from attncli.store.foreign import open_maps

TEXTS = ["The cat sat.", "A dog ran."]


@pytest.fixture(scope="module")
def decoder(demo_dirs: dict[str, Path]) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(demo_dirs["decoder"], attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def ids(demo_dirs: dict[str, Path]) -> torch.Tensor:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_dirs["decoder"])
    encoded = [tokenizer(text).input_ids for text in TEXTS]
    shortest = min(map(len, encoded))
    return torch.tensor([tokens[:shortest] for tokens in encoded])


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as refused:
        open_maps(*args, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_attentions_of_a_model_are_layers_of_texts(
    tmp_path: Path, decoder: Any, ids: torch.Tensor, batch: int
) -> None:
    with torch.no_grad():
        attentions = decoder(ids[:batch], output_attentions=True).attentions
    expected = torch.stack(attentions, 1).numpy()
    run = open_maps(saved(tmp_path / "maps.pt", attentions))
    assert [maps.text for maps in run.maps] == list(range(batch))
    for maps in run.maps:
        np.testing.assert_array_equal(maps.stack(), expected[maps.text])
        assert maps.layers[0].visible is not None
    assert "are read as layer,text,head,query,key" in run.info.notes[0]
    stacked = saved(tmp_path / "stacked.pt", torch.stack(attentions))
    assert "say which with --axes" in refusal(stacked)
    again = open_maps(stacked, axes="layer,batch,head,query,key")
    for one, other in zip(run.maps, again.maps, strict=True):
        np.testing.assert_array_equal(one.stack(), other.stack())


def test_the_steps_of_generate_are_joined_into_one_map(tmp_path: Path, decoder: Any, ids: torch.Tensor) -> None:
    options = {"do_sample": False, "return_dict_in_generate": True, "output_attentions": True}
    result = decoder.generate(ids[:1], max_new_tokens=4, min_new_tokens=4, pad_token_id=0, **options)
    with torch.no_grad():
        expected = torch.stack(decoder(result.sequences[:, :-1], output_attentions=True).attentions, 1).numpy()[0]
    (maps,) = open_maps(saved(tmp_path / "maps.pt", result.attentions)).maps
    assert maps.kind == "decoder"
    assert maps.stack().shape == expected.shape
    np.testing.assert_allclose(maps.stack(), expected, atol=1e-5)
    (named,) = open_maps(saved(tmp_path / "named.pt", {"steps": result.attentions, "x": ids}), array="steps").maps
    np.testing.assert_array_equal(named.stack(), maps.stack())


def steps(*sizes: tuple[int, int], layers: int = 2) -> tuple[tuple[torch.Tensor, ...], ...]:
    return tuple((torch.full((1, 2, queries, keys), 1 / keys),) * layers for queries, keys in sizes)


def test_steps_with_the_same_keys_are_cross_attention_if_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "maps.pt", steps((1, 5), (1, 5), (1, 5)))
    assert "say --kind cross for cross-attention, or --kind decoder for a cache of fixed size" in refusal(path)
    (maps,) = open_maps(path, kind="cross").maps
    assert maps.stack().shape == (2, 2, 3, 5)
    assert "expected weights on the 3 tokens only" in refusal(path, kind="decoder")


@pytest.mark.parametrize("sizes", [((4, 4), (1, 4), (1, 5)), ((4, 4), (1, 3)), ((1, 1), (1, 2), (1, 2))])
def test_steps_of_a_cache_that_forgets_are_refused(tmp_path: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    assert "come from a cache that forgets" in refusal(saved(tmp_path / "maps.pt", steps(*sizes)), kind="decoder")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_precision_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = torch.rand(3, 50, 50).softmax(-1).to(dtype)
    (maps,) = open_maps(saved(tmp_path / "maps.pt", weights)).maps
    np.testing.assert_array_equal(maps.stack()[0], weights.float().numpy())


class Other:
    """An object that must not be created."""


@pytest.mark.parametrize(
    "value",
    [
        lambda: Other(),
        lambda: {"maps": Other()},
        list,
        lambda: [1, 2],
        lambda: [torch.eye(2), [torch.eye(2)]],
        lambda: [[[torch.eye(2)]]],
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.eye(2) * 1j,
        lambda: torch.eye(2, device="meta"),
        lambda: "text",
    ],
)
def test_other_objects_than_tensors_are_refused(tmp_path: Path, value: Callable[[], object]) -> None:
    path = saved(tmp_path / "maps.pt", value())
    message = refusal(path)
    assert message.startswith(f"cannot read {path}: ")
    assert "expected " in message
    assert len(message) < 500


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02", b"text", b"\0" * 100])
def test_a_damaged_file_of_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "maps.pt").write_bytes(content)
    assert refusal(tmp_path / "maps.pt").startswith(f"cannot read {tmp_path / 'maps.pt'}: ")


def test_a_tensor_that_repeats_few_numbers_has_its_full_size(tmp_path: Path) -> None:
    def fits(needed: int) -> None:
        raise UsageError(f"{needed} bytes")

    path = saved(tmp_path / "maps.pt", torch.zeros(1).expand(27_000, 27_000))
    assert path.stat().st_size < 10_000
    assert refusal(path, fits=fits) == f"{27_000**2 * 4} bytes"
