"""The measures: one file per metric, each a pure function from rows (or sums over rows) to values.

A metric file defines `METRIC = row_metric(function, ...)` or `column_metric(function, ...)`. The file name is the name
of the metric; the docstring of the function is its reference page.
"""
