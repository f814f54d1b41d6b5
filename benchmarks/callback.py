"""A training with the callback against the same training without it, at the interval of the Trainer's evaluations.

    python benchmarks/callback.py
    python benchmarks/callback.py --model FOLDER --rows 8 --length 128 --heads 3.1,4.0

Steps and measurements take turns in one process; CPU seconds. The ratio is (E steps + 1 measurement) / E steps, with
E = 500, the default of `eval_steps`. The first measurement also finds out how attention is captured.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

INTERVAL = 500
TEXTS = [
    f"The {name} didn't cross the street because it was too tired, and so it slept until the sun came up."
    for name in ("animal", "dog", "cat", "horse", "child", "driver", "teacher", "bird")
]


def cpu(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def trainer_of(model: Any, rows: int, length: int) -> Callable[[], None]:
    """Return a function that trains a model for one step on random tokens."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.randint(3, model.config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        output = model(input_ids=ids.to(model.device))
        loss = output[0].float().square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Train and measure in turns, and print both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo:decoder")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--heads", default="1.3,2.0", help="heads whose maps are drawn (default %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="steps between two measurements (default %(default)s)")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    import attncli
    from attncli.integrations import AttentionCallback

    loaded = attncli.load(options.model, head="auto-head").loaded
    model = loaded.model.float().train()
    step = trainer_of(model, options.rows, options.length)
    with tempfile.TemporaryDirectory() as folder:
        callback = AttentionCallback(TEXTS, 1, heads=options.heads, logdir=folder, tokenizer=loaded.tokenizer)
        cpu(step)
        first = cpu(lambda: callback.log(model, 0))
        steps, measurements = [], []
        for turn in range(1, options.repeat + 1):
            steps += [cpu(step) for _ in range(options.steps)]
            measurements.append(cpu(lambda turn=turn: callback.log(model, turn)))
    per_step, per_measurement = statistics.median(steps), statistics.median(measurements)
    print(f"step {per_step:.3f} s, measurement {per_measurement:.3f} s (the first one {first:.3f} s)")
    print(f"ratio, measured every {INTERVAL} steps: {1 + per_measurement / (INTERVAL * per_step):.4f}")
    print(
        f"the same, a training of {INTERVAL} steps with its first measurement: {1 + first / (INTERVAL * per_step):.4f}"
    )


if __name__ == "__main__":
    main()
