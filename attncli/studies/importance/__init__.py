"""The effect of each head on the output of a model."""
