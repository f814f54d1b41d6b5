// A column of tokens that can be pointed at, focused, pinned and read out; the head view has two.
import { type Selection, select } from "d3-selection";
import type { Pointed } from "../drawing";
import type { Axis } from "../run";

export const LINE = 20;

export interface Column {
  nodes: Selection<HTMLButtonElement, string, HTMLDivElement, unknown>;
  /** Shows a number and a shade beside each token; NaN shows nothing. */
  shade(weights: Float32Array | null, colour: string): void;
  mark(at: readonly number[]): void;
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
  const buttons = nodes.nodes();
  const numbers = buttons.map((node) => node.lastElementChild as HTMLSpanElement);
  let shaded = new Float32Array(buttons.length).fill(Number.NaN);
  let marked: readonly number[] = [];
  return {
    nodes,
    shade(weights, colour) {
      box.style("--colour", colour);
      const next = weights ?? new Float32Array(buttons.length).fill(Number.NaN);
      // only what changes: a browser lays out every token that is touched
      next.forEach((value, at) => {
        if (Object.is(value, shaded[at])) return;
        const text = Number.isNaN(value) ? "" : weight(value);
        if (numbers[at].textContent !== text) numbers[at].textContent = text;
        buttons[at].style.setProperty("--shade", value > 0 ? Math.min(1, value).toFixed(3) : "0");
      });
      shaded = next.slice();
    },
    mark(at) {
      for (const each of marked) buttons[each].setAttribute("aria-pressed", "false");
      for (const each of at) buttons[each].setAttribute("aria-pressed", "true");
      marked = at;
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
