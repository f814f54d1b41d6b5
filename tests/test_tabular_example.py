"""The example for tabular data trains, and says what it should about attention."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def tabular() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("tabular", EXAMPLES / "tabular.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setitem(sys.modules, "tabular", module)
        spec.loader.exec_module(module)
        yield module


def test_a_short_training_learns_and_its_attention_has_names(tabular: ModuleType, tmp_path: Path) -> None:
    table = tabular.load_table()
    assert len(table.names) == 30
    model = tabular.train(table, epochs=2)
    assert tabular.accuracy(model, *table.test) > 0.85  # 0.63 are benign
    weights = tabular.mean_attention(model, table.test[0])
    assert weights.shape == (2, 4, 31, 31)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    run = tabular.open_attention(weights, table.names, tmp_path / "out")
    assert run.inputs[0].source.pieces == (tabular.READER, *table.names)
    np.testing.assert_array_equal(run.attention().sel(layer=1, head=0).values, weights[1, 0])


def test_importance_finds_the_feature_that_decides(tabular: ModuleType) -> None:
    class ByFeature(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return 3 * rows[:, 2]

    rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    gradients = tabular.by_integrated_gradients(ByFeature(), rows)
    np.testing.assert_allclose(gradients, [0, 0, 3 * rows[:, 2].abs().mean(), 0], atol=1e-5)
    rises = tabular.by_permutation(ByFeature(), rows, (rows[:, 2] > 0).float(), 2)
    assert rises[2] > 0.5
    assert (rises[[0, 1, 3]] == 0).all()


@pytest.mark.real
def test_the_example_and_its_notebook_run(
    tabular: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tabular.py", "--out", str(tmp_path)])
    tabular.main()
    said = capsys.readouterr().out
    assert float(said.partition("accuracy: ")[2].partition(";")[0]) > 0.9
    assert {path.name for path in tmp_path.iterdir()} >= {"heatmap.png", "importance.png", "importance.csv"}
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "tabular.ipynb").read_text(encoding="utf-8"))["cells"]
    namespace: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
    table = namespace["agreement"]
    # the caution of the notebook and of docs/how-to/tabular.md
    assert table.loc["integrated gradients", "permutation"] > 0.3
    assert table.loc["attention", "same method, other seed"] < 0.3
    assert table.loc["attention", ["integrated gradients", "permutation"]].abs().max() < 0.4
