// The list of the largest weights beside a map or a text: the same numbers without colours.
import { select } from "d3-selection";
import { weight } from "./tokens";

/** Number of weights in a list. */
export const RANKED = 12;

export interface Ranked {
  name: string;
  weight: number;
  chosen: boolean;
  pick?(): void;
}

/** Adds the list, largest weight first; a weight that can be chosen is a button. */
export function rankedList(host: HTMLElement, title: string, entries: readonly Ranked[]): void {
  const box = select(host).append("section").attr("class", "ranked").attr("aria-label", title);
  box.append("h2").text(title);
  if (!entries.length) box.append("p").text("none");
  const top = Math.max(...entries.map((entry) => entry.weight));
  const list = box.append("ol");
  entries.forEach((entry, rank) => {
    const line = list.append("li").append(entry.pick ? "button" : "span");
    line.attr("class", "rank").style("--share", String(entry.weight / (top || 1)));
    if (entry.pick) {
      line
        .attr("type", "button")
        .attr("data-keep", `rank-${rank}`)
        .attr("aria-pressed", String(entry.chosen))
        .on("click", entry.pick);
    }
    line.append("bdi").text(entry.name);
    line.append("span").attr("class", "bar").attr("aria-hidden", "true");
    line.append("span").attr("class", "weight").text(weight(entry.weight));
  });
}

/** Returns the indices of the largest weights that are above 0, largest first. */
export function largestAt(weights: ArrayLike<number>, most = RANKED): number[] {
  const best: number[] = [];
  for (let at = 0; at < weights.length; at++) {
    const value = weights[at];
    if (!(value > 0) || (best.length === most && value <= weights[best[most - 1]])) continue;
    let rank = best.length;
    while (rank > 0 && weights[best[rank - 1]] < value) rank--;
    best.splice(rank, 0, at);
    best.length = Math.min(best.length, most);
  }
  return best;
}
