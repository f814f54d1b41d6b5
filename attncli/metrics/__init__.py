"""The measures: one file per metric, each a pure function from rows (or column sums) to values.

A metric file defines `METRIC = row_metric(function, ...)` or `column_metric(function, ...)`; the file name is
the metric's name, the function's docstring is its reference page.
"""
