"""Pruning: remove the heads that matter least."""
