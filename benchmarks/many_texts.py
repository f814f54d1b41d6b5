"""Statistics of many texts: batches of one length, one text at a time, and a padded pass that measures nothing.

    python benchmarks/many_texts.py --texts 1000
    python benchmarks/many_texts.py --file corpus.txt --model sentence-transformers/all-MiniLM-L6-v2

`batched` and `one by one` measure everything; `padded` is the least that reading the texts can cost: the same model
under sdpa on padded batches of similar length, nothing measured. The texts are lines of a file, or random words with
the lengths of English sentences. Same texts, one process, one thread, sides in turn; CPU seconds, of which only the
ratios mean anything. Tokenizing is counted on all sides.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the three sides in turn and print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo:encoder")
    parser.add_argument("--file", help="texts, one a line; a random choice of them is read")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    import torch

    import attncli

    torch.set_num_threads(1)
    model = attncli.load(options.model, device="cpu")
    model.plan()
    texts = _texts(options.file, options.texts, model.loaded.tokenizer)
    sides: dict[str, Callable[[], object]] = {
        "batched": lambda: _measured(model, texts, options.batch_tokens),
        "one by one": lambda: _measured(model, texts, 1),
        "padded, unmeasured": _padded(model, texts, options.batch_tokens),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeat):
        for name, side in sides.items():
            start = time.process_time()
            side()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<20} {median:8.2f} s   {median / medians['batched']:6.2f} x batched")


def _texts(path: str | None, count: int, tokenizer: Any) -> list[str]:
    chance = random.Random(0)
    if path is not None:
        lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        return chance.sample(lines, min(count, len(lines)))
    words = sorted(piece for piece in tokenizer.get_vocab() if piece.isalpha())
    return [" ".join(chance.choices(words, k=max(1, round(chance.lognormvariate(3, 0.6))))) for _ in range(count)]


def _measured(model: Any, texts: list[str], batch_tokens: int) -> object:
    longest = model.loaded.max_positions
    return model.run(texts, metrics="all", keep_maps=False, batch_tokens=batch_tokens, max_tokens=longest)


def _padded(model: Any, texts: list[str], batch_tokens: int) -> Callable[[], None]:
    import torch

    tokenizer = model.loaded.tokenizer
    plain = type(model.loaded.model).from_pretrained(
        model.loaded.model.config.name_or_path, attn_implementation="sdpa", dtype=torch.float32
    )

    def read() -> None:
        limits = {"truncation": True, "max_length": model.loaded.max_positions}
        ids = sorted(tokenizer(texts, **limits)["input_ids"], key=len)
        with torch.inference_mode():
            for batch in _similar(ids, batch_tokens):
                plain(**tokenizer.pad({"input_ids": batch}, return_tensors="pt"))

    return read


def _similar(ids: list[list[int]], batch_tokens: int) -> Iterator[list[list[int]]]:
    """Texts that come sorted by length, in batches of so many tokens with their padding."""
    batch: list[list[int]] = []
    for one in ids:
        if batch and (len(batch) + 1) * len(one) > batch_tokens:
            yield batch
            batch = []
        batch.append(one)
    yield batch


if __name__ == "__main__":
    main()
