"""The settings of generation_config.json that decide which tokens greedy generation writes."""

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

_KEPT = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"),
    *("sequence_bias", "repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
    *("exponential_decay_length_penalty", "stop_strings", "remove_invalid_values", "min_length", "min_new_tokens"),
)


def greedy_settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the special tokens, the rules for tokens and the entries of the model's own among stored settings.

    All other settings choose another way to generate, or another form of output.
    """
    settings: Any = GenerationConfig
    known = vars(settings())
    return {name: value for name, value in stored.items() if value is not None and (name in _KEPT or name not in known)}
