"""UMAP from the real package umap-learn, from build/modules: 150 MB with what it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from attncli.studies.qk_map.projection import check_installed, project

PACKAGES = Path(__file__).parents[2] / "build" / "modules"


@pytest.mark.real
def test_umap_is_seeded_and_keeps_near_vectors_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(PACKAGES)])
    check_installed("umap")
    vectors = np.eye(4)[np.arange(48) % 4] + np.random.default_rng(0).normal(size=(48, 4)) * 0.02
    points = project(vectors, "umap", 0)
    assert points == pytest.approx(project(vectors, "umap", 2**32))
    nearest = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(48, np.inf))
    assert (nearest.argmin(1) % 4 == np.arange(48) % 4).mean() > 0.9
