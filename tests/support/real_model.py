"""Makes a folder that loads fast of a GGUF file: python tests/support/real_model.py MODEL.gguf FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from attncli.models import load


def convert(file: Path, folder: Path) -> None:
    """Dequantise the model of a GGUF file to bfloat16 and save it with its tokenizer."""
    loaded = load(str(file), head="causal-lm", dtype="bfloat16", device="cpu")
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
