"""The time of `importance`, in forward passes of the same model: all heads, by the study and by a naive loop.

    python benchmarks/importance.py [--layers 12] [--heads 12] [--width 768] [--tokens 512] [--vocabulary 50000]

The model is GPT-2 with 12 heads a layer and random weights. Times are those of the processor (one thread). Passes of
the study, forward passes and the naive loop, which runs the whole model without one head, are measured in turns, layer
by layer, so that a slow moment of the machine slows all of them. `--heads 4` measures 4 heads of each layer, and counts
them three times. Half the width, tokens and vocabulary keep the shares of the parts of the work, in an eighth of the
time. The goals for 12 layers and 512 tokens: at most 0.6 forward passes of the body a head, 0.75 of the whole model
with a vocabulary of 50,000, at most 4 forward passes a text for gradients.

Forward passes are those with eager attention, as attncli loads models, and with torch's attention (sdpa), which the
study uses where it gives the same numbers.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
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

HEADS = 12


class Times:
    """Processor times by name, summed and counted."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.counts: defaultdict[str, int] = defaultdict(int)

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        """Return what some work returns, and add its time."""
        start = time.process_time()
        result = work()
        self.sums[name] += time.process_time() - start
        self.counts[name] += 1
        return result

    def mean(self, name: str) -> float:
        return self.sums[name] / self.counts[name]


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser()
    sizes = {"layers": 12, "heads": HEADS, "width": 768, "tokens": 512, "vocabulary": 50_000}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def gates_of(layer: int, heads: range) -> dict[Any, Gate]:
    """Return gates that remove one of some heads in each row of a batch."""
    factor = torch.ones(len(heads), HEADS)
    factor[torch.arange(len(heads)), torch.tensor(heads)] = 0
    return {("decoder", layer): Gate(factor)}


@torch.no_grad()
def main() -> None:
    """Measure and print the ratios."""
    options, times = parse(), Times()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"n_layer": options.layers, "n_embd": options.width, "vocab_size": options.vocabulary}
    config = GPT2Config(**sizes, n_positions=max(1024, options.tokens), bos_token_id=None, eos_token_id=None)
    model: Any = GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    loaded = wrap_model(model)
    ids = torch.randint(0, options.vocabulary, (1, options.tokens))
    batch = batch_from_tensors(loaded, {"input_ids": ids})
    reruns = Reruns(loaded, kept_plan(loaded, "auto", batch))
    step = max(1, TOKENS_AT_ONCE // options.tokens)
    positions, targets = torch.arange(options.tokens - 1).numpy(), ids[0, 1:].numpy()

    def outcome() -> LanguageOutcome:
        return LanguageOutcome(reruns, reruns.record(batch.tensors), positions, targets, None)

    model(ids, use_cache=False)
    before = float(model(ids, labels=ids, use_cache=False).loss)
    recorded = times.measure("record", lambda: reruns.record(batch.tensors))
    study = times.measure("begin", outcome)
    # the first effect computes the unedited logits, once a text
    times.measure("begin", lambda: study.effects(gates_of(0, range(1)), 1))
    differences = []
    for layer in range(options.layers):
        for attention in ("sdpa", "eager"):
            model.set_attn_implementation(attention)
            times.measure(f"{attention} body", lambda: model.transformer(ids, use_cache=False))
            times.measure(f"{attention} whole", lambda: model(ids, use_cache=False))
        effects = []
        for first in range(0, options.heads, step):
            heads = range(first, min(options.heads, first + step))
            gates, count = gates_of(layer, heads), len(heads)
            times.measure("bodies", lambda gates=gates, count=count: reruns.hidden(recorded, gates, count))
            measured = times.measure("effects", lambda gates=gates, count=count: study.effects(gates, count))
            effects += measured["loss"].tolist()
        with gated(model, reruns.sites, gates_of(layer, range(1))):
            changed = times.measure("naive", lambda: model(ids, labels=ids, use_cache=False))
        differences.append(abs(float(changed.loss) - before - effects[0]))
    times.measure("gradient", study.gradients)
    show(options, times, max(differences), step)


def show(options: argparse.Namespace, times: Times, difference: float, step: int) -> None:
    """Print the ratios for all heads of the model."""
    scale, heads = HEADS / options.heads, HEADS * options.layers
    bodies = times.sums["record"] + times.sums["bodies"] * scale
    effects = times.sums["begin"] + times.sums["effects"] * scale
    print(f"{heads} heads, {options.tokens} tokens, {step} heads at once, vocabulary {options.vocabulary}")
    for attention in ("eager", "sdpa"):
        body, whole = times.mean(f"{attention} body"), times.mean(f"{attention} whole")
        print(f"{attention}: one forward pass: body {body:.2f} s, whole model {whole:.2f} s")
        print(f"  bodies:   {bodies / heads / body:.3f} of {heads} passes of the body (goal 0.6)")
        print(f"  effects:  {effects / heads / whole:.3f} of {heads} whole passes (goal 0.75)")
        print(f"  gradient: {times.sums['gradient'] / whole:.2f} whole passes (goal 4)")
    naive = times.mean("naive")
    print(f"naive loop: {naive:.2f} s a head; effects {effects / heads / naive:.3f} of it")
    print(f"largest difference of an effect to the naive loop: {difference:.1e} nat")


if __name__ == "__main__":
    main()
