// The replacement of a view that a run cannot show: the reason, and the command that would add the data.
import { select } from "d3-selection";
import { themed } from "../colour";
import type { Drawing, Stage } from "../drawing";

export function missing({ host, announce }: Stage, why: string, command = ""): Drawing {
  const box = select(host).append("div").attr("class", "missing").attr("aria-disabled", "true");
  box.append("p").text(why);
  if (command) {
    box.append("p").text("This command adds them:");
    box.append("pre").append("code").text(command);
  }
  announce(why);
  return {
    picture: { width: 480, height: 40, paint: (pen) => pen.text(0, 20, why, { fill: themed("ink") }) },
    table: () => ({ columns: ["message"], rows: [[why]] }),
  };
}
