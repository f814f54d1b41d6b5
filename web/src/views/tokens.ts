// A column of tokens that can be pointed at, focused, pinned and read out; the head view has two.
import { type Selection, select } from "d3-selection";
import type { Pointed } from "../drawing";
import type { Axis } from "../run";

export const LINE = 20;

export interface Column {
  nodes: Selection<HTMLButtonElement, string, HTMLDivElement, unknown>;
  /** Shows a number and a shade beside each token; NaN shows nothing. */
  shade(weights: Float32Array | null, colour: string): void;
  mark(at: ReadonlySet<number>): void;
}

export function tokenColumn(
  host: HTMLElement,
  side: Pointed["side"],
  axis: Axis,
  on: { point(at: number | null): void; pin(at: number): void },
): Column {
  const box = select(host)
    .append("div")
    .attr("class", `tokens ${side}`)
    .attr("role", "group")
    .attr("aria-label", side === "query" ? "tokens that look" : "tokens that are looked at");
  const nodes = box
    .selectAll<HTMLButtonElement, string>("button")
    .data(axis.labels)
    .join("button")
    .attr("type", "button")
    .attr("class", (_, at) => `token${axis.special[at] ? " special" : ""}`)
    .attr("data-at", (_, at) => at)
    .attr("data-keep", (_, at) => `${side}-${at}`)
    .attr("tabindex", (_, at) => (at === 0 ? 0 : -1))
    .attr("aria-pressed", "false");
  nodes.append("bdi").text((label) => label);
  nodes.append("span").attr("class", "weight");
  box
    .on("pointerover", (event: Event) => on.point(placeOf(event)))
    .on("pointerleave", () => on.point(null))
    .on("focusin", (event: Event) => {
      rove(box.node() as HTMLDivElement, event.target as Element);
      on.point(placeOf(event));
    })
    .on("focusout", () => on.point(null))
    .on("click", (event: Event) => {
      const at = placeOf(event);
      if (at !== null) on.pin(at);
    });
  const numbers = nodes.select<HTMLSpanElement>(".weight");
  return {
    nodes,
    shade(weights, colour) {
      nodes.style("--shade", (_, at) => (weights && weights[at] > 0 ? String(Math.min(1, weights[at])) : "0"));
      nodes.style("--colour", colour);
      numbers.text((_, at) => (weights && !Number.isNaN(weights[at]) ? weight(weights[at]) : ""));
    },
    mark(at) {
      nodes.attr("aria-pressed", (_, each) => String(at.has(each)));
    },
  };
}

/** One token of a column is reached by Tab, the others from it. */
function rove(box: HTMLElement, token: Element): void {
  for (const other of box.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", "-1");
  token.closest(".token")?.setAttribute("tabindex", "0");
}

function placeOf(event: Event): number | null {
  const at = (event.target as Element | null)?.closest<HTMLElement>("[data-at]")?.dataset.at;
  return at === undefined ? null : Number(at);
}

/** A weight as it is read: three decimals, fewer digits where there are none. */
export function weight(value: number): string {
  if (value >= 0.0005) return value.toFixed(3);
  return value > 0 ? value.toExponential(0) : "0";
}
