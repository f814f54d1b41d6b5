"""One classifier that all tests of faithfulness share."""

from __future__ import annotations

import pytest

import attncli


@pytest.fixture(scope="session")
def classifier() -> attncli.Model:
    """The bundled classifier with its head."""
    return attncli.load("demo:classifier", head="auto-head")
