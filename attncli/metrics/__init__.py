"""The measures: one file per metric, each a pure function from rows (or sums over rows) to values.

A metric file declares `METRIC = Metric(function, "row" or "column", ...)`, from which its command-line name, help page,
schema and tests follow. File and function have the name of the metric; the docstring is its reference page.
"""
