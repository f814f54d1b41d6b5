"""Scripts that train and measure the bundled demo models; not part of the installed package."""
