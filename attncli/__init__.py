"""See and measure what the attention heads of any Hugging Face model look at."""
