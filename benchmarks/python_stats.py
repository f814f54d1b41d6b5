"""`model.run(text).stats()` against the plain forward pass of the same model: CPU seconds and their ratio.

    python benchmarks/python_stats.py --tokens 2048

A decoder of GPT-2's shape with random weights, sides in turn, one process, one thread. `plain` is the model under sdpa,
nothing captured; `kept` keeps all maps first, as `model.run(text, keep_maps=True).stats()` does. Only the ratios mean
anything. The model is probed before the first measurement.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Measure the sides in turn and print their medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2Model

    import attncli
    from attncli.models import DEMO

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(Path(DEMO) / "decoder")
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"))
    config = GPT2Config(n_positions=options.tokens, n_layer=options.layers, vocab_size=len(tokenizer), **ends)
    module = GPT2Model._from_config(config, attn_implementation="sdpa").eval()
    model = attncli.load(module, tokenizer=tokenizer)
    text = "The animal did not cross the street. " * options.tokens
    limit = {"max_tokens": options.tokens}
    ids = torch.tensor([model.run(text, **limit).inputs[0].source.ids.tolist()])

    def plain() -> None:
        with torch.inference_mode():
            module(ids, use_cache=False)

    sides: dict[str, Callable[[], object]] = {
        "plain": plain,
        "run(text).stats()": lambda: model.run(text, **limit).stats(),
        "kept": lambda: model.run(text, keep_maps=True, max_memory="64GB", **limit).stats(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.repeat + 1):
        for name, side in sides.items():
            start = time.process_time()
            side()
            if number:  # the first round fills caches
                seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<18} {median:8.2f} s   {median / medians['plain']:6.2f} x plain")


if __name__ == "__main__":
    main()
