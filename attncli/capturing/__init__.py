"""Capture of attention while a model computes it: `plan` finds how, `run` sends the rows to the sinks."""

from attncli.capturing.capture import layer_bytes, plan, run
from attncli.capturing.scales import with_scales
from attncli.capturing.sites import CapturePlan, Site

__all__ = ["CapturePlan", "Site", "layer_bytes", "plan", "run", "with_scales"]
