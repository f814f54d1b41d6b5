"""Plans of models that cannot be captured completely name every refused module and the true reason."""

from __future__ import annotations

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    DiaConfig,
    DiaForConditionalGeneration,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    PegasusXConfig,
    PegasusXForConditionalGeneration,
    PreTrainedModel,
    UdopConfig,
    UdopForConditionalGeneration,
)

import attncli
from attncli.api.model import Model
from attncli.capturing import plan
from attncli.errors import ModelError, UsageError
from attncli.inputs.batches import batch_from_tensors
from attncli.models import Loaded, wrap_model

SMALL = {"vocab_size": 60, "d_model": 16, "max_position_embeddings": 64}
IDS = torch.arange(10, 22)[None]


def seq2seq(model: PreTrainedModel) -> tuple[Loaded, dict[str, torch.Tensor]]:
    return wrap_model(model.eval()), {"input_ids": IDS, "decoder_input_ids": IDS[:, :7]}


def pegasus_x() -> PegasusXForConditionalGeneration:
    layers = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    config = PegasusXConfig(
        **SMALL, **layers, encoder_ffn_dim=16, decoder_ffn_dim=16, num_global_tokens=3, block_size=4
    )
    return PegasusXForConditionalGeneration(config)


def test_attention_over_blocks_and_global_tokens_is_refused_with_the_name_of_each_module() -> None:
    loaded, tensors = seq2seq(pegasus_x())
    capture_plan = plan(loaded, batch=batch_from_tensors(loaded, tensors))
    assert [name for name, _ in capture_plan.refused] == [f"model.encoder.layers.{layer}.self_attn" for layer in (0, 1)]
    assert all("scores, not over one row and column per token" in reason for _, reason in capture_plan.refused)
    assert capture_plan.kinds == ("decoder", "cross")


def test_a_decoder_never_runs_without_its_encoder() -> None:
    config = UdopConfig(
        vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_heads=2, num_layers=2, num_decoder_layers=2, image_size=32
    )
    loaded, tensors = seq2seq(UdopForConditionalGeneration(config))
    with pytest.raises(ModelError, match=r"fails on these inputs \(forward: ValueError: Bbox is required"):
        plan(loaded, batch=batch_from_tensors(loaded, tensors))


def test_only_the_encoder_of_a_model_that_writes_audio_codes_is_captured() -> None:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    stack = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 16, **heads}
    cross = {"cross_hidden_size": 16, **{f"cross_{name}": size for name, size in heads.items()}}
    config = DiaConfig(encoder_config={**stack, "vocab_size": 60}, decoder_config={**stack, **cross})
    loaded = wrap_model(DiaForConditionalGeneration(config).eval())
    assert not loaded.is_encoder_decoder
    capture_plan = plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": IDS}))
    assert [(site.kind, site.layer) for site in capture_plan.sites] == [("encoder", 0), ("encoder", 1)]
    assert {reason.partition(",")[0] for _, reason in capture_plan.refused} == {"its map is 1 x 1", "its map is 1 x 12"}


def test_stacks_without_a_start_token_are_distinguished() -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    side = BertConfig(vocab_size=60, **shape)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(side, BertConfig(vocab_size=60, **shape))
    loaded, tensors = seq2seq(EncoderDecoderModel(config))
    capture_plan = plan(loaded, batch=batch_from_tensors(loaded, tensors))
    assert sorted((site.kind, site.layer) for site in capture_plan.sites) == [
        (kind, layer) for kind in ("cross", "decoder", "encoder") for layer in (0, 1)
    ]


def test_a_token_beyond_the_vocabulary_is_named() -> None:
    config = BertConfig(vocab_size=15, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    loaded = wrap_model(BertModel(config).eval())
    with pytest.raises(ModelError, match=r"token id 21 is beyond the model's 15 embeddings"):
        plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": IDS}))


class Float32Only(BertModel):
    """A model that computes with a float32 constant, as old code does."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.ones(1, 12, 12) @ self.embeddings.word_embeddings(input_ids)


def test_the_error_of_a_model_that_computes_only_in_float32_names_the_option() -> None:
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    loaded = wrap_model(Float32Only(config).bfloat16().eval())
    with pytest.raises(ModelError, match="try --dtype float32"):
        plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": IDS}))


def test_a_mask_with_holes_is_refused() -> None:
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    loaded = wrap_model(BertModel(config).eval())
    holes = torch.ones_like(IDS)
    holes[0, 4] = 0
    with pytest.raises(UsageError, match="mask of text 0 leaves out tokens between others"):
        plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": IDS, "attention_mask": holes}))


IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)


def clip() -> CLIPModel:
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**shape, "vocab_size": 100, "bos_token_id": 2, "eos_token_id": 3}
    return CLIPModel(CLIPConfig(text_config=text, vision_config={**shape, "image_size": 8, "patch_size": 4})).eval()


def test_inputs_of_the_user_are_read_by_the_whole_model_or_fail_with_its_error() -> None:
    model = families.build(FAMILIES["llava"], "eager")
    with torch.no_grad():
        own = model(input_ids=torch.tensor([[5, 6, 4, 4, 4, 4, 7]]), pixel_values=IMAGE, output_attentions=True)
    run = attncli.capture(model, {"input_ids": [[5, 6, 4, 4, 4, 4, 7]], "pixel_values": IMAGE})
    for layer, maps in enumerate(own.attentions):
        np.testing.assert_allclose(run.attention("decoder").sel(layer=layer).values, maps[0], atol=1e-6)
    with pytest.raises(ModelError, match=r"fails on these inputs .*tokens: 3, features"):
        attncli.capture(model, {"input_ids": [[5, 6, 4, 4, 4, 7]], "pixel_values": IMAGE})
    with pytest.raises(ModelError, match="fails on these inputs"):
        attncli.capture(clip(), {"input_ids": [[5, 6, 7, 3]]})


def test_an_input_that_the_model_does_not_take_is_not_dropped() -> None:
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(ModelError, match="unexpected keyword argument 'token_type_ids'"):
        attncli.capture(Float32Only(config), {"input_ids": IDS, "token_type_ids": torch.zeros_like(IDS)})


def test_a_note_says_that_only_a_part_of_the_model_reads_the_text() -> None:
    run = Model(wrap_model(clip(), families.tiny_tokenizer())).run("the animal did not cross")
    assert run.info.notes[0].startswith(
        "only get_text_features reads the text, because CLIPModel (clip) does not run from text alone (forward: "
    )
