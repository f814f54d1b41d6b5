"""Which weights of a model its checkpoint lacks, and which weights of the checkpoint the model does not use."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

_HEAD_PARTS = {"pooler", "classifier", "lm_head", "cls", "qa_outputs", "score", "generator_predictions", "logits"}
_SHOWN = 3
_OLD_BUFFERS = re.compile(r"(masked_bias|position_ids|inv_freq|\.(attn|attention)\.bias)$")
"""Constants that older versions of Transformers stored with the weights."""


def problem_with_weights(model: PreTrainedModel, loading_info: Mapping[str, Any]) -> str:
    """Return which weights the checkpoint lacks for this class, heads excepted; "" if none.

    Weights that are missing would stay random, and so would the attention.
    """
    missing = [key for key in loading_info["missing_keys"] if not _is_head(key)]
    prefix = model.base_model_prefix
    if prefix and hasattr(model, prefix):
        missing = [key for key in missing if key.startswith(prefix + ".")]
    if missing:
        count = f"all {len(missing)}" if len(missing) == len(model.state_dict()) else len(missing)
        return f"the checkpoint lacks {count} of its weights, the first is {sorted(missing)[0]}"
    wrong = sorted(loading_info.get("mismatched_keys") or [])
    return f"{len(wrong)} weights have another shape than config.json says: {wrong[0][0]}" if wrong else ""


def unused_weights(model: PreTrainedModel, loading_info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of stored weights that belong to the stack of the model, but that it does not use.

    Heads for other tasks and stored constants do not count.
    """
    base, prefix = model.base_model, f"{model.base_model_prefix}."
    children, buffers = dict(base.named_children()), dict(base.named_buffers())
    unused = []
    for key in sorted(loading_info["unexpected_keys"]):
        name = key.removeprefix(prefix)
        if name.split(".")[0] in children and name not in buffers and not _OLD_BUFFERS.search(name):
            unused.append(key)
    return tuple(unused)


def weight_notes(model: PreTrainedModel, initialised: Sequence[str], unused: Sequence[str]) -> tuple[str, ...]:
    """Return notes for the user about weights that were initialised or stay unused.

    The pooler of a base model needs no note: nothing reads it.
    """
    notes = []
    if initialised and model.base_model is not model:
        notes.append(
            f"the checkpoint lacks {len(initialised)} weights of {type(model).__name__}, which were initialised at "
            f"random: {list_weights(initialised)}; its attention does not depend on them, its output does"
        )
    if unused:
        notes.append(
            f"{len(unused)} weights of the checkpoint are not used, as config.json describes a smaller "
            f"{type(model).__name__}: {list_weights(unused)}"
        )
    return tuple(notes)


def list_weights(names: Sequence[str]) -> str:
    """Return the first names of weights in one line."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _is_head(key: str) -> bool:
    """Return whether a weight belongs to a head: a part of that name outside of the numbered layers of a stack."""
    parts = key.split(".")
    number = next((index for index, part in enumerate(parts) if part.isdigit()), len(parts))
    return bool(_HEAD_PARTS.intersection(parts[:number]))
