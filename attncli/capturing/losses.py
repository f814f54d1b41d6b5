"""How well a language model predicts each token of its inputs."""

from collections.abc import Iterable

import torch

from attncli.capturing.edited_pass import edited_outputs
from attncli.capturing.plans import kept_plan
from attncli.data import Array
from attncli.inputs.batches import Batch
from attncli.models import Loaded


def no_losses(loaded: Loaded) -> str | None:
    """Return why a model has no loss of the next token; None if it has one."""
    name = type(loaded.model).__name__
    if loaded.reads_both_ways:
        return f"{name} is an encoder, whose tokens see those after them"
    if not loaded.model.can_generate():
        return f"{name} has no language-model head"
    return "weights of its language-model head are random" if loaded.initialised else None


def token_losses(loaded: Loaded, batches: Iterable[Batch]) -> dict[int, Array]:
    """Return for each text the loss of each token given the tokens before it: -ln p, in nats; NaN for the first.

    The tokens are those of the decoder in an encoder-decoder. The model must have losses (see `no_losses`), and the
    texts of a batch no padding.
    """
    losses: dict[int, Array] = {}
    plan = kept_plan(loaded, "auto")
    name = "decoder_input_ids" if loaded.is_encoder_decoder else "input_ids"
    for batch in batches:
        with torch.inference_mode():
            logits = edited_outputs(loaded, plan, batch).logits
            ids = batch.tensors[name]
            predicted = logits[:, :-1].double().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        per_token = torch.cat([predicted.new_full((len(ids), 1), torch.nan), -predicted], dim=1).cpu().numpy()
        losses |= {text.index: values for text, values in zip(batch.inputs, per_token, strict=True)}
    return losses
