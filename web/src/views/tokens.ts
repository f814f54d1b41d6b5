// A column of tokens that can be pointed at, focused and pinned; the head view has two.
import { type Selection, select } from "d3-selection";
import type { Axis } from "../run";

const LEAST_LINE = 20;
const MOST_LINE = 46;
/** Smallest and largest size of the text of a token. */
const SIZES = [13, 18];
/** Milliseconds of rest of the pointer after which tokens off the screen are updated. */
const REST_MS = 80;

/** Returns the pixels between tokens: as many as let a short text fill `height`. */
export function lineHeight(height: number, count: number): number {
  return Math.max(LEAST_LINE, Math.min(MOST_LINE, Math.floor(height / count)));
}

/** Returns the size of the text of tokens that are `line` pixels apart. */
export function textSize(line: number): number {
  return Math.max(SIZES[0], Math.min(SIZES[1], Math.round(0.5 * line)));
}

export interface Column {
  nodes: Selection<HTMLButtonElement, string, HTMLDivElement, unknown>;
  /** Shows a number and a shade for each token; NaN shows nothing. Tokens off the screen may be updated later. */
  shade(weights: Float32Array | null, colour: string, passing: boolean): void;
  mark(at: readonly number[]): void;
}

export function tokenColumn(
  host: HTMLElement,
  { name, label, left, line }: { name: string; label: string; left: boolean; line: number },
  axis: Axis,
  on: { point(at: number | null): void; pin(at: number): void },
): Column {
  const box = select(host)
    .append("div")
    .attr("class", `tokens ${name}${left ? " left" : ""}`)
    .attr("role", "group")
    .attr("aria-label", label)
    .style("--line", `${line}px`)
    .style("--size", `${textSize(line)}px`);
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
  // only changed tokens, as the browser lays out each token that is written
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
        fill(...inSight(box.node() as HTMLDivElement, buttons.length, line));
        rest = window.setTimeout(() => fill(0, buttons.length), REST_MS);
      } else fill(0, buttons.length);
    },
    mark(at) {
      for (const token of marked) buttons[token].setAttribute("aria-pressed", "false");
      for (const token of at) buttons[token].setAttribute("aria-pressed", "true");
      marked = at;
    },
  };
}

/** Returns the range of tokens of a column that is on the screen. */
function inSight(box: HTMLElement, count: number, line: number): [number, number] {
  const { top } = box.getBoundingClientRect();
  const at = (y: number) => Math.max(0, Math.min(count, Math.round((y - top) / line)));
  return [at(-line), at(innerHeight + line)];
}

/** Makes a token the one that Tab reaches; arrow keys reach the others. */
function rove(box: HTMLElement, token: Element): void {
  for (const other of box.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", "-1");
  token.closest(".token")?.setAttribute("tabindex", "0");
}

function placeOf(event: Event): number | null {
  const at = (event.target as Element | null)?.closest<HTMLElement>("[data-at]")?.dataset.at;
  return at === undefined ? null : Number(at);
}

/** Returns a weight with three decimals, and a tiny one in scientific notation. */
export function weight(value: number): string {
  if (value >= 0.0005) return value.toFixed(3);
  return value > 0 ? value.toExponential(0) : "0";
}
