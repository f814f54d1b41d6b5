"""Greedy generation appends the tokens that the model ranks first, whatever generation_config.json asks for."""

from __future__ import annotations

import ast
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli import models
from attncli.api.model import Model
from attncli.data import Text
from attncli.errors import ModelError
from attncli.inputs.encode import encode
from attncli.models import Loaded

OTHER_WAYS: list[dict[str, Any]] = [
    {"return_dict_in_generate": True, "output_scores": True},
    {"num_return_sequences": 3},
    {"num_beams": 4, "num_return_sequences": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"dola_layers": "low"},
    {"token_healing": True},
    {"prompt_lookup_num_tokens": 3},
    {"stop_strings": ["no such text"]},
    {"do_sample": True, "temperature": 9.0},
    {"guidance_scale": 3.0},
    {"max_length": 3, "max_time": 0.0},
    {"min_length": 99},
    {"force_words_ids": [[5]]},
]


def _written(loaded: Loaded, count: int = 4) -> list[int]:
    (batch,) = encode(loaded, [Text("the cat sat")], generate=count)
    text = batch.inputs[0]
    return list((text.target or text.source).ids.tolist())


def _with_settings(folder: Path, base: Path, settings: dict[str, Any], head: str) -> Loaded:
    """Return a model loaded from a copy whose generation_config.json has these settings too."""
    shutil.copytree(base, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return models.load(str(folder), device="cpu", head=head)


@pytest.mark.parametrize("name", ["decoder", "seq2seq"])
def test_settings_for_other_ways_to_generate_change_nothing(
    name: str, tmp_path: Path, demo_dirs: dict[str, Path]
) -> None:
    plain = models.load(str(demo_dirs[name]), device="cpu", head="auto-lm")
    expected = _written(plain)
    for settings in OTHER_WAYS:
        changed = copy.deepcopy(plain.model.generation_config)
        vars(changed).update(settings)
        before = dict(vars(changed))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plain.model, "generation_config", changed)
            assert _written(plain) == expected, settings
            assert plain.model.generation_config is changed
        assert vars(changed) == before
    refused = {"num_return_sequences": 3, "compile_config": {"fullgraph": True}, "max_new_tokens": "x"}
    assert _written(_with_settings(tmp_path / "refused", demo_dirs[name], refused, "auto-lm")) == expected


def test_stop_strings_end_the_text_as_in_the_model_itself(tmp_path: Path, demo_dirs: dict[str, Path]) -> None:
    plain = models.load(str(demo_dirs["decoder"]), device="cpu", head="causal-lm")
    written = _written(plain, 8)
    stop = plain.tokenizer.decode(written[-6]).strip()
    loaded = _with_settings(tmp_path / "model", demo_dirs["decoder"], {"stop_strings": [stop]}, "causal-lm")
    shorter = _written(loaded, 8)
    assert shorter == written[: len(shorter)]
    assert len(written) - 8 < len(shorter) <= len(written) - 5


@pytest.mark.parametrize("name", ["decoder", "seq2seq"])
def test_an_empty_text_gets_a_note(name: str, demo_dirs: dict[str, Path]) -> None:
    loaded = models.load(str(demo_dirs[name]), device="cpu", head="auto-lm")
    loaded.model.generation_config.suppress_tokens = [
        token for token in range(loaded.model.config.vocab_size) if token != loaded.tokenizer.eos_token_id
    ]
    (batch,) = encode(loaded, [Text("the cat sat")], generate=3)
    assert (
        batch.notes
        == {
            "decoder": ("text 0: the model wrote no text after it, only </s>",),
            "seq2seq": ("text 0: no target given, the model generated an empty one",),
        }[name]
    )


def test_wrong_settings_are_reported_in_one_line(tmp_path: Path, demo_dirs: dict[str, Path]) -> None:
    loaded = _with_settings(tmp_path / "model", demo_dirs["decoder"], {"begin_suppress_tokens": "x"}, "causal-lm")
    with pytest.raises(ModelError, match=r"LlamaForCausalLM fails while it generates \(ValueError: .*\); leave"):
        _written(loaded)


SIZES = {"vocab_size": families.VOCABULARY, "d_model": 16, "eos_token_id": 5, "pad_token_id": 0}
T5 = {**SIZES, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
BART = {
    **SIZES,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
}


@pytest.mark.parametrize(
    ("name", "config", "first"),
    [
        ("T5ForSequenceClassification", T5, 0),
        ("T5ForQuestionAnswering", T5, 0),
        ("BartForSequenceClassification", BART, 2),
        ("BartForQuestionAnswering", BART, 2),
        ("MBartForSequenceClassification", BART, 5),  # its last token comes first
    ],
)
def test_classifiers_with_a_decoder_run_without_a_target(
    name: str, config: dict[str, Any], first: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    cls = getattr(transformers, name)
    own = cls(cls.config_class(**config)).eval()
    own.save_pretrained(tmp_path)
    families.tiny_tokenizer().save_pretrained(tmp_path)
    model = attncli.load(str(tmp_path))
    run = model.run("the animal was too tired")
    (text,) = run.inputs
    assert text.target is not None
    assert text.target.ids.tolist() == [first, *text.source.ids.tolist()[:-1]]
    assert run.info.notes == (f"text 0: no target given, the decoder reads the text itself, as {name} does",)
    own.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = own(input_ids=torch.tensor(text.source.ids)[None], output_attentions=True)
    for layer, weights in enumerate(outputs.cross_attentions):
        np.testing.assert_allclose(run.attention("cross").layers[layer].weights, weights[0], atol=1e-5)
    with pytest.raises(ModelError, match=f"{name} cannot generate text; give --target"):
        model.run("the animal", generate=2)


def test_a_model_that_needs_the_input_of_its_decoder_asks_for_a_target(demo_dirs: dict[str, Path]) -> None:
    model = Model(models.load(str(demo_dirs["seq2seq"]), device="cpu", head="base"))
    with pytest.raises(ModelError, match="MarianModel cannot generate text; give --target"):
        model.run("two cats", keep_maps=False, metrics=["entropy"])
    assert not model.loaded.model.get_decoder()._forward_pre_hooks


def test_a_seq2seq_model_with_a_random_head_needs_a_target(tmp_path: Path) -> None:
    transformers.MBartModel(transformers.MBartConfig(**BART, tie_word_embeddings=False)).save_pretrained(tmp_path)
    families.tiny_tokenizer().save_pretrained(tmp_path)
    model = attncli.load(str(tmp_path), head="seq2seq-lm")
    options: Any = {"keep_maps": False, "metrics": ["entropy"]}
    with pytest.raises(ModelError, match=r"initialised at random \(lm_head\.weight\); give --target"):
        model.run("the animal", **options)
    assert model.run("the animal", target="it", **options).info.notes == model.loaded.notes
    assert len(model.loaded.notes) == 1


def test_a_note_shows_what_a_decoder_writes_after_the_first_texts(demo_dirs: dict[str, Path]) -> None:
    loaded = models.load(str(demo_dirs["decoder"]), head="causal-lm")
    batches = list(encode(loaded, [Text("Once upon a time")] * 5, generate=6))
    inputs = batches[0].inputs[0].source
    ids = inputs.ids[[name == "generated" for name in inputs.segments]].tolist()
    wrote = f"the model generated: {loaded.tokenizer.decode(ids, skip_special_tokens=True)!r}"
    notes = [note for batch in batches for note in batch.notes]
    assert notes == [f"text 0: {wrote}", f"text 1: {wrote}", f"text 2: {wrote} (and more after 2 other texts)"]
    (batch,) = encode(loaded, [Text("a\nb " * 9)], generate=80)
    shown = batch.notes[0].partition("generated: ")[2]
    assert shown.isprintable()
    assert len(ast.literal_eval(shown)) <= 200
