"""Capture + all statistics against eager `output_attentions=True` + the obvious formulas: CPU time and peak memory.

    python benchmarks/capture.py --tokens 128 512 2048

Both sides run the same model (GPT-2 small's shape, random weights) on the same ids in the same run, one thread,
each measurement in a process of its own; only the ratios mean anything. Growth is the peak memory of the process
above what it held when the model was loaded. The plan (two short passes, once per model) is made while warming up.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any


def main() -> None:
    """Measure both sides in turn and print one row per length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--repeat", type=int, default=3, help="interleaved processes per side")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--worker", choices=["attncli", "formulas"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(_worker(options.worker, options.tokens[0], options.layers)))
        return
    print(
        f"{'tokens':>6}  {'attncli s':>10} {'formulas s':>10} {'time ratio':>10}  "
        f"{'attncli MB':>10} {'formulas MB':>11} {'memory ratio':>12}"
    )
    for tokens in options.tokens:
        runs: dict[str, list[dict[str, float]]] = {"attncli": [], "formulas": []}
        for _ in range(options.repeat):
            for side, results in runs.items():
                results.append(_spawn(side, tokens, options.layers))
        ours, theirs = (
            {name: statistics.median(run[name] for run in runs[side]) for name in ("cpu", "growth")}
            for side in ("attncli", "formulas")
        )
        print(
            f"{tokens:>6}  {ours['cpu']:>10.2f} {theirs['cpu']:>10.2f} {ours['cpu'] / theirs['cpu']:>10.2f}  "
            f"{ours['growth']:>10.0f} {theirs['growth']:>11.0f} {ours['growth'] / theirs['growth']:>12.2f}"
        )


def _spawn(side: str, tokens: int, layers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", side, "--tokens", str(tokens), "--layers", str(layers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _worker(side: str, tokens: int, layers: int) -> dict[str, float]:
    import torch
    from transformers import GPT2Config, GPT2Model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = GPT2Config(n_positions=max(1024, tokens), n_layer=layers)
    model = GPT2Model._from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(0, config.vocab_size, (1, tokens))
    measure = stats_of(model) if side == "attncli" else lambda batch: formulas(model, batch)
    measure(ids[:, :16])  # warm caches, so that the first matrix product is not counted
    before = peak_mb()
    start = time.process_time()
    measure(ids)
    return {"cpu": time.process_time() - start, "growth": peak_mb() - before}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stats_of(model: Any, compiled: bool = False) -> Any:
    """All measures of encoded texts, by attncli, with compiled blocks or without."""
    from attncli import capturing, models, registry
    from attncli.inputs.batches import batch_from_tensors
    from attncli.stream import Measure

    loaded = models.wrap_model(model)
    metrics = [module.METRIC for module in registry.modules("metrics").values()]

    plans: list[Any] = []

    def measure(ids: Any) -> None:
        batch = batch_from_tensors(loaded, {"input_ids": ids})
        if not plans:
            plans.append(capturing.plan(loaded, batch=batch))
        sink = Measure(metrics)
        capturing.run(loaded, plans[0], batch, [sink], compiled=compiled)
        sink.result(batch.inputs)

    return measure


def formulas(model: Any, ids: Any) -> None:
    """What one would write: all maps at once, then each measure over whole matrices (in float32)."""
    import torch

    with torch.inference_mode():
        maps = model(ids, output_attentions=True, use_cache=False).attentions
    n = ids.shape[1]
    index = torch.arange(n)
    offset = (index[None, :] - index[:, None]).float()
    visible = offset <= 0
    count = visible.sum(-1).float()
    uniform = (offset.abs() * visible).sum(-1) / count
    for layer in maps:
        entropy = -torch.where(layer > 0, layer * layer.log(), 0.0).sum(-1)
        distance = (layer * offset.abs()).sum(-1) / layer.sum(-1)
        rows = [
            entropy,
            entropy / count.log(),
            entropy.exp(),
            layer.amax(-1),
            distance,
            distance / uniform,
            (layer * offset).sum(-1) / layer.sum(-1),
            layer.diagonal(0, 2, 3),
            layer.diagonal(-1, 2, 3),
            (layer * (offset.abs() <= 2)).sum(-1),
            layer[..., 0],
            1 - layer.sum(-1),
        ]
        [row.double().nanmean(-1) for row in rows]
        received = layer.sum(2) / visible.sum(0)
        received[..., : n - 4].max(-1)
        [layer.diagonal(at, 2, 3).mean(-1) for at in range(-8, 1)]


if __name__ == "__main__":
    main()
