// The legend: what colours and shapes of points mean.
import { select } from "d3-selection";
import { isolated } from "../cells";
import type { Legend } from "./colours";

export function drawLegend(host: HTMLElement, legend: Legend): void {
  const box = select(host);
  box.selectAll("*").remove();
  const shapes = box.append("span").attr("class", "shapes");
  shapes.append("span").attr("aria-hidden", "true").text("●");
  shapes.append("span").text("query");
  shapes.append("span").attr("aria-hidden", "true").text("◆");
  shapes.append("span").text("key");
  box.append("span").attr("class", "title").text(`colour: ${legend.title}`);
  for (const { colour, name, count } of legend.entries) {
    const entry = box.append("span").attr("class", "entry");
    entry.append("span").attr("class", "swatch").attr("aria-hidden", "true").style("background", colour);
    entry.append("bdi").text(isolated(name)).attr("title", name);
    entry.append("span").attr("class", "count").text(count);
  }
  if (legend.more) box.append("span").text(`and ${legend.more} more`);
  if (legend.scale) {
    const { low, high, colours } = legend.scale;
    const entry = box.append("span").attr("class", "entry");
    entry.append("span").text(low);
    entry
      .append("span")
      .attr("class", "ramp")
      .attr("aria-hidden", "true")
      .style("background", `linear-gradient(to right, ${colours.join(", ")})`);
    entry.append("span").text(high);
  }
}
