"""Statistics of long texts against the model's plain forward pass, and against eager maps + formulas.

    python benchmarks/long_inputs.py time --shape gpt2 --tokens 512 2048 8192
    python benchmarks/long_inputs.py memory --shape gpt2 --tokens 2048 8192 16384
    python benchmarks/long_inputs.py time --shape llama-1b --device cuda --tokens 8192 32768 131072 --formulas 1

`stats` measures every row and column measure of all layers and heads; `compiled` does so with compiled blocks
(`--compile on`), which are compiled while warming up; `plain` is the same model's forward pass under `sdpa`, which
measures nothing; `formulas` asks for `output_attentions=True` under eager attention and writes the same measures down
over whole maps (only up to --formulas tokens, since its maps grow with the square). Random weights, positions extended,
one thread. Times are CPU seconds of one process in which the sides take turns; with OMP_NUM_THREADS above 1 they are
those of a clock, on a machine that does nothing else. Memory is the peak of a process of its own for each side, whole
and above what it held when the model was loaded. Only the ratios to `plain` mean anything. Of each side's turns the
shortest counts: what comes between, such as memory that the system takes back and hands out anew (up to a quarter of a
turn on a virtual machine), only ever adds, and to either side at random. The plan (one short pass, once per model) is
made while warming up. On a GPU models are in bfloat16 and times are seconds until the device is done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from capture import formulas, peak_mb, stats_of

SIDES = ("plain", "stats", "compiled", "formulas")
SHAPES = {"gpt2": 12, "llama": 12, "llama-1b": 16}
"""How many layers each has."""
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


def main() -> None:
    """Measure and print one row per length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["time", "memory"])
    parser.add_argument("--shape", choices=SHAPES, default="gpt2")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda goes with time alone")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--layers", type=int, help="default: as many as the shape has")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each side")
    parser.add_argument("--formulas", type=int, default=4096, help="longest text for eager maps + formulas")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and options.what == "memory":
        parser.error("memory is that of a process: leave out --device")
    options.layers = options.layers or SHAPES[options.shape]
    if options.worker:
        print(json.dumps(_memory(options.worker, options.shape, options.tokens[0], options.layers)))
        return
    print(f"{options.shape}, {options.layers} layers, {options.what}, {options.device}")
    for tokens in options.tokens:
        sides = [side for side in SIDES if side != "formulas" or tokens <= options.formulas]
        report = _time_row if options.what == "time" else _memory_row
        print(f"{tokens:>7}  {report(options, tokens, sides)}", flush=True)


def _time_row(options: Any, tokens: int, sides: list[str]) -> str:
    model, ids = _model(options.shape, tokens, options.layers, options.device)
    run = {side: _side(side, model) for side in sides}
    for side in sides:
        run[side](ids[:, :64])  # warm caches, make the plan
    run["compiled"](ids)  # compiles for more than 4,096 keys too
    spent: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(options.repeat):
        for side in sides:
            start = _now(options.device)
            run[side](ids)
            spent[side].append(_now(options.device) - start)
    least = {side: min(spent[side]) for side in sides}
    parts = [f"plain {least['plain']:8.2f} s"]
    parts += [f"{side} {least[side]:8.2f} s = {least[side] / least['plain']:.2f} x" for side in sides[1:]]
    return "   ".join(parts)


def _now(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() if device == "cuda" or THREADS > 1 else time.process_time()


def _memory_row(options: Any, tokens: int, sides: list[str]) -> str:
    found = {side: _spawn(side, options, tokens) for side in sides}
    plain = found["plain"]
    parts = [f"plain {plain['peak']:7.0f} MB (growth {plain['growth']:6.0f})"]
    parts += [
        f"{side} {found[side]['peak']:7.0f} MB = {found[side]['peak'] / plain['peak']:.2f} x "
        f"(growth {found[side]['growth']:6.0f} = {found[side]['growth'] / plain['growth']:.2f} x)"
        for side in sides[1:]
    ]
    return "   ".join(parts)


def _spawn(side: str, options: Any, tokens: int) -> dict[str, float]:
    command = [sys.executable, __file__, "memory", "--worker", side, "--shape", options.shape]
    command += ["--tokens", str(tokens), "--layers", str(options.layers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _memory(side: str, shape: str, tokens: int, layers: int) -> dict[str, float]:
    model, ids = _model(shape, tokens, layers)
    run = _side(side, model)
    run(ids[:, :64])
    before = peak_mb()
    run(ids)
    return {"peak": peak_mb(), "growth": peak_mb() - before}


def _model(shape: str, tokens: int, layers: int, device: str = "cpu") -> tuple[Any, Any]:
    """GPT-2 small's shape, one like a small Llama's (16 heads of 64 that share 4 key heads), or Llama 3.2 1B's."""
    import torch
    from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    if shape == "gpt2":
        config: Any = GPT2Config(n_positions=tokens, n_layer=layers)
        model: Any = GPT2Model._from_config(config, attn_implementation="sdpa")
    else:
        hidden, inner, heads, shared = (1024, 2816, 16, 4) if shape == "llama" else (2048, 8192, 32, 8)
        config = LlamaConfig(
            vocab_size=32000,
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=shared,
            max_position_embeddings=tokens,
        )
        model = LlamaModel._from_config(config, attn_implementation="sdpa")
    if device == "cuda":
        model = model.to(device, torch.bfloat16)
    return model.eval(), torch.randint(0, config.vocab_size, (1, tokens)).to(device)


def _side(side: str, model: Any) -> Callable[[Any], None]:
    if side in ("stats", "compiled"):
        return stats_of(model, side == "compiled")
    return (lambda ids: _plain(model, ids)) if side == "plain" else (lambda ids: _eager(model, ids))


def _plain(model: Any, ids: Any) -> None:
    import torch

    with torch.inference_mode():
        model(ids, use_cache=False)


def _eager(model: Any, ids: Any) -> None:
    model.set_attn_implementation("eager")
    formulas(model, ids)
    model.set_attn_implementation("sdpa")


if __name__ == "__main__":
    main()
