"""Capture of attention while a model computes it: `plan` finds how, `run` sends the rows to the sinks."""

from attncli.capturing.bound_edits import bind, bind_rows, check_edits
from attncli.capturing.capture import in_eval_mode, layer_bytes, plan, run
from attncli.capturing.edited_pass import edited_outputs, with_edited_writer
from attncli.capturing.modules import plan_module
from attncli.capturing.other_texts import ready_edits
from attncli.capturing.plans import kept_plan
from attncli.capturing.scales import with_scales
from attncli.capturing.shadow import Shadow, shared_shadow
from attncli.capturing.sites import CapturePlan, Site

__all__ = ["CapturePlan", "Shadow", "Site", "in_eval_mode", "kept_plan", "layer_bytes", "plan", "plan_module", "run"]
__all__ += ["bind", "bind_rows", "check_edits", "edited_outputs", "ready_edits", "shared_shadow", "with_edited_writer"]
__all__ += ["with_scales"]
