// A column of tokens that can be pointed at, focused, pinned and read out; the head view has two.
import { type Selection, select } from "d3-selection";
import type { Axis } from "../run";

export const LINE = 20;
/** How long the pointer must rest until tokens out of sight are filled in. */
const REST_MS = 80;

export interface Column {
  nodes: Selection<HTMLButtonElement, string, HTMLDivElement, unknown>;
  /** Shows a number and a shade beside each token; NaN shows nothing. Tokens out of sight may follow later. */
  shade(weights: Float32Array | null, colour: string, passing: boolean): void;
  mark(at: readonly number[]): void;
}

export function tokenColumn(
  host: HTMLElement,
  { name, label, left }: { name: string; label: string; left: boolean },
  axis: Axis,
  on: { point(at: number | null): void; pin(at: number): void },
): Column {
  const box = select(host)
    .append("div")
    .attr("class", `tokens ${name}${left ? " left" : ""}`)
    .attr("role", "group")
    .attr("aria-label", label);
  const nodes = box
    .selectAll<HTMLButtonElement, string>("button")
    .data(axis.labels)
    .join("button")
    .attr("type", "button")
    .attr("class", (_, at) => `token${axis.special[at] ? " special" : ""}`)
    .attr("data-at", (_, at) => at)
    .attr("data-keep", (_, at) => `${name}-${at}`)
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
  const none = new Float32Array(buttons.length).fill(Number.NaN);
  const shaded = none.slice();
  let wanted: Float32Array = none;
  let rest = 0;
  // only what changes: a browser lays out every token that is touched
  const fill = (from: number, to: number) => {
    for (let at = from; at < to; at++) {
      const value = wanted[at];
      if (Object.is(value, shaded[at])) continue;
      shaded[at] = value;
      const text = Number.isNaN(value) ? "" : weight(value);
      if (numbers[at].textContent !== text) numbers[at].textContent = text;
      buttons[at].style.setProperty("--shade", value > 0 ? Math.min(1, value).toFixed(3) : "0");
    }
  };
  let marked: readonly number[] = [];
  return {
    nodes,
    shade(weights, colour, passing) {
      box.style("--colour", colour);
      wanted = weights ?? none;
      clearTimeout(rest);
      if (passing) {
        fill(...inSight(box.node() as HTMLDivElement, buttons.length));
        rest = window.setTimeout(() => fill(0, buttons.length), REST_MS);
      } else fill(0, buttons.length);
    },
    mark(at) {
      for (const each of marked) buttons[each].setAttribute("aria-pressed", "false");
      for (const each of at) buttons[each].setAttribute("aria-pressed", "true");
      marked = at;
    },
  };
}

/** From which token to which a column is on the screen. */
function inSight(box: HTMLElement, count: number): [number, number] {
  const { top } = box.getBoundingClientRect();
  const at = (y: number) => Math.max(0, Math.min(count, Math.round((y - top) / LINE)));
  return [at(-LINE), at(innerHeight + LINE)];
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
