"""Where the stream of row blocks ends: keep, pool, reduce to measures; each sink holds only what its scope needs."""

from __future__ import annotations

from attncli.sinks.keep import Keep
from attncli.sinks.measure import Measure
from attncli.sinks.pool import Pool
from attncli.sinks.protocol import Sink, selected

__all__ = ["Keep", "Measure", "Pool", "Sink", "selected"]
