"""Which methods of `attribute` find the word that decides, in texts of demo:classifier where it is known.

    python benchmarks/rationales.py [--texts 50]

Prints for each method the share of texts in which the word with the largest share is the one that decides, the share in
which it is the marker before it, and the mean area under the ROC curve: how probable it is that the word that decides
has a larger share than another word.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np

import attncli
from attncli.studies.attribute.options import AttributionName

TEXTS = Path(__file__).parent.parent / "configs" / "rationales.jsonl"


def positions(tokens: attncli.Tokens, spans: list[list[int]]) -> set[int]:
    """Return the tokens that lie in spans of characters."""
    inside = [any(start >= low and end <= high for low, high in spans) for start, end in tokens.offsets.tolist()]
    return set(np.flatnonzero(np.array(inside) & ~tokens.special).tolist())


def scores(model: attncli.Model, text: dict[str, Any], methods: tuple[AttributionName, ...]) -> np.ndarray[Any, Any]:
    """Return for each method whether the decisive word is first, whether the marker is, and the area of the curve."""
    result = model.attribute(text["text"], methods, special="drop", allow_delta=True)
    tokens, units = result.tokens["source"], [unit.positions[0] for unit in result.units]
    decides = np.isin(units, list(positions(tokens, text["rationale"])))
    marks = np.isin(units, list(positions(tokens, text["marker"])))
    rows = []
    for method in methods:
        shares = result.shares(method)
        first = int(shares.argmax())
        above = shares[decides][:, None] > shares[~decides]
        rows.append([decides[first], marks[first], above.mean()])
    return np.array(rows, float)


def main() -> None:
    """Measure and print the scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=50)
    lines = TEXTS.read_text(encoding="utf-8").splitlines()[: parser.parse_args().texts]
    model = attncli.load("demo:classifier", head="auto-head")
    methods = get_args(AttributionName)
    means = np.mean([scores(model, json.loads(line), methods) for line in lines], axis=0)
    print(f"{len(lines)} texts          word  marker  AUROC")
    for method, (word, marker, area) in zip(methods, means.tolist(), strict=True):
        print(f"{method:20}  {word:.2f}    {marker:.2f}   {area:.2f}")


if __name__ == "__main__":
    main()
