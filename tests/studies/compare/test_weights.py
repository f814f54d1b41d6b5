"""Matrices of heads are found whatever the architecture, and a change is found in its own head."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import families
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from attncli import models
from attncli.capturing import plan
from attncli.capturing.head_weights import head_matrices
from attncli.models import wrap_model
from attncli.studies.compare.map_distance import norm_distance

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."
O_PROJ = "model.layers.1.self_attn.o_proj.weight"


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> Path:
    """demo:decoder with one and a half times W_O of head 1.3: columns 96 to 127, as each head has 32."""
    folder = Path(shutil.copytree(demo_dirs["decoder"], tmp_path_factory.mktemp("changed") / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors[O_PROJ][:, 96:128] *= 1.5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_changed_output_projection_is_found_in_its_own_head(run_cli: RunCli, changed: Path) -> None:
    options = ("-t", TEXT, "--metric", "entropy", "--format", "json", "--json")
    by_weight = json.loads(run_cli("compare", "demo:decoder", changed, *options).out)
    by_norm = json.loads(run_cli("compare", "demo:decoder", changed, *options, "--by", "norm").out)
    for document in (by_weight, by_norm):
        first, *others = document["weights"]
        assert first["change"] == pytest.approx(0.5, abs=1e-6)
        assert (first["kind"], first["layer"], first["head"], first["matrix"]) == ("decoder", 1, 3, "W_O")
        assert len(others) == 3 * 8 * 4 - 1
        assert {row["change"] for row in others} == {0.0}
    # weights of attention show it one layer too late, norms where it is
    assert by_weight["heads"][0]["layer"] == 2
    assert {row["js_distance"] for row in by_weight["heads"] if row["layer"] == 1} == {0.0}
    first, second, *_ = by_norm["heads"]
    assert (first["layer"], first["head"]) == (1, 3)
    assert first["norm_distance"] == pytest.approx(0.5, abs=1e-6)
    assert second["layer"] == 2
    assert second["norm_distance"] < 0.4


def test_one_model_has_no_changed_matrices(run_cli: RunCli) -> None:
    done = run_cli("compare", "-t", TEXT, "--against-text", "A dog ran off and hid.", "--format", "json", "--json")
    assert "weights" not in json.loads(done.out)


@pytest.mark.parametrize(
    ("family", "matrix", "name", "rows"),
    [
        ("bert", "W_K", "encoder.layer.0.attention.self.key", slice(16, 24)),
        ("gpt2", "W_V", "h.0.attn.c_attn", slice(64 + 16, 64 + 24)),
        ("distilbert", "W_Q", "transformer.layer.0.attention.q_lin", slice(16, 24)),
        ("t5", "W_Q", "encoder.block.0.layer.0.SelfAttention.q", slice(16, 24)),
    ],
)
def test_the_rows_of_a_head_are_its_matrix(family: str, matrix: str, name: str, rows: slice, tmp_path: Path) -> None:
    loaded = models.load(str(families.save(families.FAMILIES[family], tmp_path)), device="cpu")
    site = next(site for site in plan(loaded, "auto").sites if site.layer == 0 and site.kind != "cross")
    before, module = head_matrices(loaded, site), loaded.model.base_model.get_submodule(name)
    weight: Any = module.weight.data
    (weight.T if family == "gpt2" else weight)[rows] *= 2
    after = head_matrices(loaded, site)
    changes = {
        (key, head) for key in before for head in range(4) if not torch.equal(before[key][head], after[key][head])
    }
    assert before.keys() == {"W_Q", "W_K", "W_V", "W_O"}
    assert changes == {(matrix, 2)}


def test_heads_that_share_keys_share_their_matrix_and_adapters_count(demo_dirs: dict[str, Path]) -> None:
    loaded = models.load(str(demo_dirs["decoder"]), device="cpu")
    site = plan(loaded, "auto").sites[0]
    plain = head_matrices(loaded, site)
    attention: Any = loaded.model.get_submodule(site.name)
    assert plain["W_K"].shape == plain["W_Q"].shape == (8, 32, 128)
    assert all(torch.equal(plain["W_K"][head], attention.k_proj.weight[32 * (head // 4) :][:32]) for head in range(8))

    class Adapted(torch.nn.Linear):
        """A layer whose matrix is that of the model and one of its own."""

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return super().forward(given) + given[..., :1] @ torch.ones(1, self.out_features)

    adapted = Adapted(128, 256, bias=False)
    adapted.weight.data = attention.q_proj.weight.data
    attention.q_proj = adapted
    difference = head_matrices(wrap_model(loaded.model), site)["W_Q"] - plain["W_Q"]
    torch.testing.assert_close(difference[..., 0], torch.ones(8, 32))
    assert float(difference[..., 1:].abs().max()) < 1e-6


def test_norms_differ_by_a_share_of_what_was_written() -> None:
    a, b = np.array([[1.0, 3.0], [np.nan, 1.0]]), np.array([[1.0, 1.0], [5.0, 1.0]])
    assert norm_distance(a, b) == 2 / 5
    assert norm_distance(a, a) == 0
    assert np.isnan(norm_distance(np.zeros((1, 2)), np.ones((1, 2))))
