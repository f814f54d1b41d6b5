"""Catching attention as it is computed: routes push `Rows` into sinks."""
