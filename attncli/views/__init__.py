"""Pictures: pure functions from finished numbers (`draw`) and one shared `save`."""
