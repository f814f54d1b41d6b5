"""The time of `attribute` beside Captum's own loop, and the number of forward passes of attention-x-gradient.

    python benchmarks/attribution.py [--tokens 128] [--steps 50] [--occluded 512]

The model is the bundled encoder. Times are those of the processor (one thread), the least of two runs. Captum runs the
model of Transformers with its default attention and the best of three batch sizes. The goals: integrated gradients take
at most 1.3 times as long as Captum, attention-x-gradient at most 4 forward passes. Occlusion is compared with one pass
of the model for each token.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients
from transformers import AutoModelForMaskedLM

import attncli

WORDS = "the cat sat on the mat . the dog ran home and the man read a book by the fire . "
ENCODER = Path(__file__).parent.parent / "attncli" / "demo" / "encoder"


def cpu_seconds(work: Callable[[], Any], repeats: int = 2) -> float:
    """Return the processor time of some work, the least of several times."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Measure and print the times."""
    parser = argparse.ArgumentParser()
    for name, default in {"tokens": 128, "steps": 50, "occluded": 512}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = attncli.load("demo:encoder", head="auto-head")
    raw: Any = AutoModelForMaskedLM.from_pretrained(ENCODER).eval()
    text = f"the [MASK] sat . {WORDS * 40}"
    tokenizer, embedding = model.loaded.tokenizer, raw.get_input_embeddings()

    def ids_of(count: int) -> torch.Tensor:
        return torch.tensor(tokenizer(text, truncation=True, max_length=count)["input_ids"])[None]

    ids = ids_of(options.tokens)
    row = ids[0].tolist().index(tokenizer.mask_token_id)
    word = int(raw(ids).logits[0, row].argmax())
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    ends = [embedding(of).detach() for of in (ids, torch.where(special, ids, tokenizer.mask_token_id))]

    def score(vectors: torch.Tensor) -> torch.Tensor:
        return raw(inputs_embeds=vectors).logits[:, row].double().log_softmax(-1)[:, word]

    captum = {
        size: cpu_seconds(
            lambda size=size: IntegratedGradients(score).attribute(
                *ends, n_steps=options.steps, internal_batch_size=size
            )
        )
        for size in (4, 16, options.steps)
    }

    def attribute(method: Any, count: int) -> float:
        settings: Any = {"steps": options.steps, "allow_delta": True, "max_tokens": count}
        return cpu_seconds(lambda: model.attribute(text, method, **settings))

    own, best = attribute("integrated-gradients", options.tokens), min(captum.values())
    print(f"integrated gradients, {options.tokens} tokens, {options.steps} steps: {own:.2f} s")
    print(f"  Captum: {', '.join(f'{time:.2f} s in batches of {size}' for size, time in captum.items())}")
    print(f"  {own / best:.2f} times as long as the fastest (goal: 1.3)")
    long = ids_of(options.occluded)
    with torch.inference_mode():
        one = cpu_seconds(lambda: raw(long), 5)
    every = attribute("occlusion", options.occluded)
    print(
        f"occlusion of {options.occluded} tokens: {every:.2f} s, one pass for each token {one * options.occluded:.2f} s"
    )
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    # the copies that run share the hooks of the model
    handle = model.loaded.model.register_forward_hook(count)
    model.attribute(text, "attention-x-gradient", max_tokens=options.tokens)
    handle.remove()
    print(f"attention-x-gradient: {passes} forward passes (goal: 4)")


if __name__ == "__main__":
    main()
