"""The time of `importance`, in forward passes of the same model: all heads, by the study and by a naive loop.

    python benchmarks/importance.py [--layers 12] [--heads 12] [--width 768] [--tokens 512] [--naive 6]

The model is GPT-2 with 12 heads a layer and random weights. Times are those of the processor (one thread). The naive
loop, which runs the whole model for every head, is measured on a few heads; `--heads 4` measures 4 of each layer, so
that the rest of the work counts three times as much as it does for all. Half the width, tokens and vocabulary keep the
shares of the parts of the work, in an eighth of the time. The goals for 12 layers and 512
tokens: at most 0.6 forward passes of the body a head, 0.75 of the whole model with a vocabulary of 50,000, at most 4
forward passes a text for gradients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from attncli.capturing import kept_plan
from attncli.capturing.gates import Gate, gated
from attncli.capturing.reruns import Reruns
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.studies.importance.compute import TOKENS_AT_ONCE
from attncli.studies.importance.outcomes import LanguageOutcome


def cpu_seconds(work: Callable[[], Any], repeats: int = 1) -> float:
    """Return the processor time of some work, the least of several times."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser()
    for name, default in {
        "layers": 12,
        "heads": 12,
        "width": 768,
        "tokens": 512,
        "vocabulary": 50_000,
        "naive": 6,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {
        "n_layer": options.layers,
        "n_embd": options.width,
        "vocab_size": options.vocabulary,
        "n_positions": max(1024, options.tokens),
    }
    config = GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)
    model: Any = GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    loaded = wrap_model(model)
    ids = torch.randint(0, options.vocabulary, (1, options.tokens))
    batch = batch_from_tensors(loaded, {"input_ids": ids})
    plan = kept_plan(loaded, "auto", batch)
    heads = options.layers * options.heads
    step = max(1, TOKENS_AT_ONCE // options.tokens)
    reruns = Reruns(loaded, plan)
    with torch.no_grad():
        recorded = reruns.record(batch.tensors)
        model(ids, use_cache=False)
        body = cpu_seconds(lambda: model.transformer(ids, use_cache=False), 3)
        whole = cpu_seconds(lambda: model(ids, use_cache=False), 3)

        def gates_of(layer: int, first: int, count: int) -> dict[Any, Gate]:
            factor = torch.ones(count, 12)
            for row in range(count):
                factor[row, first + row] = 0
            return {("decoder", layer): Gate(factor)}

        def all_bodies() -> None:
            kept = reruns.record(batch.tensors)
            for layer in range(options.layers):
                for first in range(0, options.heads, step):
                    reruns.hidden(
                        kept, gates_of(layer, first, min(step, options.heads - first)), min(step, options.heads - first)
                    )

        positions, targets = torch.arange(options.tokens - 1).numpy(), ids[0, 1:].numpy()

        def all_effects() -> list[float]:
            outcome = LanguageOutcome(reruns, reruns.record(batch.tensors), positions, targets, None)
            effects: list[float] = []
            for layer in range(options.layers):
                for first in range(0, options.heads, step):
                    count = min(step, options.heads - first)
                    effects += outcome.effects(gates_of(layer, first, count), count)["loss"].tolist()
            return effects

        measured: list[float] = []
        body_time = cpu_seconds(all_bodies)
        whole_time = cpu_seconds(lambda: measured.extend(all_effects()))
        before = float(model(ids, labels=ids, use_cache=False).loss)
        naive: list[float] = []

        def loop() -> None:
            for number in range(0, heads, max(1, heads // options.naive)):
                with gated(reruns.model, reruns.sites, gates_of(number // options.heads, number % options.heads, 1)):
                    loss = float(reruns.model(input_ids=ids, labels=ids, use_cache=False).loss)
                naive.append(abs(loss - before - measured[number]))

        naive_time = cpu_seconds(loop) / len(range(0, heads, max(1, heads // options.naive)))
        outcome = LanguageOutcome(reruns, recorded, positions, targets, None)
        gradient_time = cpu_seconds(outcome.gradients)
    print(f"{heads} heads, {options.tokens} tokens, {step} heads at once, vocabulary {options.vocabulary}")
    print(f"one forward pass: body {body:.2f} s, whole model {whole:.2f} s; naive loop {naive_time:.2f} s a head")
    print(f"bodies:   {body_time / heads / body:.3f} of {heads} passes of the body (goal 0.6)")
    print(f"effects:  {whole_time / heads / whole:.3f} of {heads} whole passes (goal 0.75)")
    print(f"          {whole_time / heads / naive_time:.3f} of the naive loop; largest difference {max(naive):.1e} nat")
    print(f"gradient: {gradient_time / whole:.2f} whole passes (goal 4)")


if __name__ == "__main__":
    main()
