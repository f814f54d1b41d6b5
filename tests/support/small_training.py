"""A short training of the bundled decoder by the Trainer of Transformers, for tests of callbacks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed

from attncli.models import Loaded
from attncli.models.loading import load


def decoder() -> Loaded:
    """Return a decoder whose weights may change."""
    return load("demo:decoder", head="causal-lm")


def rows(count: int, length: int = 16) -> list[dict[str, torch.Tensor]]:
    """Return rows of random tokens that are repeated, so that there is something to learn."""
    half = torch.randint(3, 1000, (count, length // 2), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in torch.cat([half, half], 1)]


def trainer(folder: Path, callbacks: Sequence[TrainerCallback] = (), steps: int = 6, **options: Any) -> Trainer:
    """Return a Trainer of the decoder, with dropout, whose training draws random numbers of all kinds."""
    set_seed(1)
    loaded = decoder()
    model = loaded.model.train()
    model.config.attention_dropout = 0.1
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.1
    defaults = {"logging_steps": 2, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    args = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=2, use_cpu=True, seed=3, **{**defaults, **options}
    )
    return Trainer(
        model,
        args,
        train_dataset=rows(16),
        eval_dataset=rows(2),
        processing_class=loaded.tokenizer,
        callbacks=list(callbacks),
    )


def weights(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return copies of all parameters."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def random_states() -> list[Any]:
    """Return the states of all random number generators of this process, as plain values."""
    numpy_state = np.random.get_state()
    return [random.getstate(), torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2]]  # type: ignore[index]
