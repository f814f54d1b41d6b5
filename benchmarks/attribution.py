"""The time of `attribute` beside Captum's own loop, and the number of forward passes of attention-x-gradient.

    python benchmarks/attribution.py [--tokens 128] [--steps 50] [--occluded 64,512]

The model is the bundled encoder. Times are those of the processor (one thread), the least of two runs. Captum runs the
model of Transformers with its default attention and the best of three batch sizes. The goals: integrated gradients take
at most 1.3 times as long as Captum, attention-x-gradient at most 4 forward passes.

Occlusion is compared with the obvious loop: one pass of the plain model for each token. The goal was 3 times faster at
512 tokens. That cannot be reached with whole passes, as the last line shows: the matrix products, softmax and GELU of
the layers, in the best batch, take more than a third of the time of a plain pass. Batches save what a call costs beside
them and the logits of rows that predict nothing, so short texts gain most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients
from torch.nn import functional
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


@torch.inference_mode()
def kernel_seconds(config: Any, tokens: int, batch: int) -> float:
    """Return the time of what the layers of BERT must compute for one text, in a batch: nothing can be faster."""
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    rows, wide = torch.randn(batch * tokens, width), torch.randn(batch * tokens, inner)
    square, out, back = torch.randn(width, width), torch.randn(inner, width), torch.randn(width, inner)
    queries = torch.randn(batch, heads, tokens, width // heads)

    def layers() -> None:
        for _ in range(config.num_hidden_layers):
            for _ in range(4):
                functional.linear(rows, square)
            functional.scaled_dot_product_attention(queries, queries, queries)
            functional.linear(rows, out)
            functional.gelu(wide)
            functional.linear(wide, back)

    return cpu_seconds(layers, 5) / batch


def relevance_passes(model: attncli.Model, text: str, tokens: int) -> int:
    """Return how many forward passes attention-x-gradient takes."""
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    # the copies that run share the hooks of the model
    handle = model.loaded.model.register_forward_hook(count)
    model.attribute(text, "attention-x-gradient", max_tokens=tokens)
    handle.remove()
    return passes


def main() -> None:
    """Measure and print the times."""
    parser = argparse.ArgumentParser()
    for name, default in {"tokens": 128, "steps": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--occluded", type=lambda value: [int(part) for part in value.split(",")], default=[64, 512])
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
    for tokens in options.occluded:
        long = ids_of(tokens)
        with torch.inference_mode():
            one = cpu_seconds(lambda long=long: raw(long), 10)
        # the second call leaves out what one text costs whatever its length
        every = attribute("occlusion", tokens) - attribute("gradient-norm", tokens)
        floor = min(kernel_seconds(raw.config, tokens, batch) for batch in (1, 8, 32))
        print(f"occlusion of {tokens} tokens: {every:.2f} s, one pass for each token {one * tokens:.2f} s")
        print(f"  {one * tokens / every:.2f} times faster; the layers alone, at their best: {one / floor:.2f}")
    print(f"attention-x-gradient: {relevance_passes(model, text, options.tokens)} forward passes (goal: 4)")


if __name__ == "__main__":
    main()
