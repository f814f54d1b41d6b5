"""What each analysis of a long text costs, in forward passes of the same model: CPU seconds and their ratio.

    python benchmarks/analyses.py                                        # both shapes at 2,000 and 4,000 tokens
    python benchmarks/analyses.py --shape gpt2 --layers 4 --only stats-profile flow

`plain` is the model's forward pass under sdpa, which measures nothing. Models have random weights: GPT-2 small's shape
(12 layers x 12 heads) and SmolLM2-135M's (30 x 9 that share 3 key heads). Each analysis runs as its command does, up
to its numbers (view: up to its page), from one text that is encoded anew; loading, start-up and drawing are not in it.
One thread, one process, sides in turn, of each the least of its turns. Only the ratios mean anything. The model is
probed before the first turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

LAYERS = {"gpt2": 12, "smollm2": 30}
"""How many layers each shape has."""
PARAGRAPH = "The animal did not cross the street. " * 25
Side = Callable[[], object]


def main() -> None:
    """Measure the sides in turn and print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=LAYERS, nargs="+", default=list(LAYERS))
    parser.add_argument("--tokens", type=int, nargs="+", default=[2000, 4000])
    parser.add_argument("--layers", type=int, help="default: as many as the shape has")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side")
    parser.add_argument("--only", choices=STUDIES, nargs="+", default=list(STUDIES), metavar="NAME")
    options = parser.parse_args()
    for shape in options.shape:
        layers = options.layers or LAYERS[shape]
        model = _model(shape, max(options.tokens), layers)
        columns = [_seconds(_sides(model, tokens, options.only), options.repeat) for tokens in options.tokens]
        print(f"{shape}, {layers} layers" + "".join(f"{tokens:>12,} tokens" for tokens in options.tokens))
        for name in columns[0]:
            cells = (_cell(name, seconds) for seconds in columns)
            print(f"{name:<16}" + "".join(f"{cell:>19}" for cell in cells), flush=True)


def _cell(name: str, seconds: Mapping[str, float]) -> str:
    return f"{seconds[name]:.2f} s" if name == "plain" else f"{seconds[name] / seconds['plain']:.2f} x"


def _model(shape: str, tokens: int, layers: int) -> Any:
    """Return a model of random weights with the tokenizer of the bundled decoder."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    import attncli
    from attncli.models import DEMO

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(Path(DEMO) / "decoder")
    shared = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": None}
    module: Any
    if shape == "gpt2":
        config: Any = GPT2Config(n_positions=tokens, n_layer=layers, **shared)
        module = GPT2Model._from_config(config, attn_implementation="sdpa")
    else:
        config = LlamaConfig(
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=layers,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=tokens,
            **shared,
        )
        module = LlamaModel._from_config(config, attn_implementation="sdpa")
    return attncli.load(module.eval(), tokenizer=tokenizer)


def _sides(model: Any, tokens: int, names: Iterable[str]) -> dict[str, Side]:
    """Return the plain pass and the analyses, each as a function without arguments."""
    import torch

    text = "\n\n".join([PARAGRAPH] * (tokens // 100))
    module, limit = model.loaded.model, {"max_tokens": tokens}
    ids = torch.tensor([model.run(text, **limit).inputs[0].source.ids.tolist()])
    assert ids.shape[1] == tokens

    def plain() -> None:
        with torch.inference_mode():
            module(ids, use_cache=False)

    def analysis(name: str) -> Side:
        study, options = STUDIES[name]()
        return lambda: _used(model.study(study, text, **limit, **options))

    return {"plain": plain, **{name: analysis(name) for name in names}}


def _used(result: Any) -> None:
    """Read a result that is computed when it is read: that of heatmap and highlight is an iterator of runs."""
    if isinstance(result, tuple) and hasattr(result[0], "__next__"):
        for _ in result[0]:
            pass


def _seconds(sides: Mapping[str, Side], turns: int) -> dict[str, float]:
    """Return the CPU seconds of each side: the least of its turns, as what comes between only ever adds."""
    least: dict[str, float] = {}
    for _ in range(turns):
        for name, side in sides.items():
            start = time.process_time()
            side()
            spent = time.process_time() - start
            least[name] = min(spent, least.get(name, spent))
    return least


def _stats(**options: Any) -> Any:
    from attncli.studies.stats.options import StatsOptions
    from attncli.studies.stats.study import StatsStudy

    return StatsStudy(StatsOptions(**options)), {}


def _patterns() -> Any:
    from attncli.studies.patterns.options import PatternsOptions
    from attncli.studies.patterns.study import PatternsStudy

    return PatternsStudy(PatternsOptions(shuffles=0)), {}


def _heads() -> Any:
    from attncli.studies.heads.options import HeadsOptions
    from attncli.studies.heads.study import HeadsStudy

    return HeadsStudy(HeadsOptions(shuffles=0)), {}


def _segments() -> Any:
    from attncli.studies.segments.study import SegmentsStudy

    return SegmentsStudy(), {}


def _highlight() -> Any:
    from attncli.studies.highlight.options import HighlightOptions
    from attncli.studies.highlight.study import HighlightStudy

    return HighlightStudy(HighlightOptions(focus="100"), mean=True), {}


def _flow() -> Any:
    from attncli.studies.flow.study import FlowStudy

    return FlowStudy(), {}


def _view() -> Any:
    from attncli.studies.view.study import ViewStudy

    return ViewStudy(), {}


def _heatmap() -> Any:
    from attncli.studies.heatmap.study import HeatmapStudy

    return HeatmapStudy(), {}


STUDIES: dict[str, Callable[[], Any]] = {
    "stats": _stats,
    "stats-profile": lambda: _stats(profile=True),
    "stats-top-k": lambda: _stats(top_k=5),
    "stats-norm": lambda: _stats(by="norm"),
    "patterns": _patterns,
    "heads": _heads,
    "segments": _segments,
    "highlight": _highlight,
    "flow": _flow,
    "view": _view,
    "heatmap": _heatmap,
}
"""The study of each row and its options of the forward pass."""


if __name__ == "__main__":
    main()
