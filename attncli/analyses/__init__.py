"""What needs more than one row: what heads do, and what attention does over a whole layer or several of them."""
