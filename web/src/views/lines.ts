// The lines between two columns of tokens: which are drawn, and a canvas that draws those on the screen.
import { select } from "d3-selection";
import type { Stage } from "../drawing";
import { type Pen, sized } from "../pen";
import type { HeadName } from "../state";
import { oncePerFrame } from "../turns";

/** Smallest weight and largest number of drawn lines: of tokens in focus, and of all tokens. */
const FAINT = 0.002;
const MOST_OF_ONE = 800;
const FAINT_OF_ALL = 0.02;
const MOST_OF_ALL = 6000;

export interface Line {
  query: number;
  key: number;
  weight: number;
  /** Place of the head in the drawn heads. */
  head: number;
}

/** Returns the lines of the tokens in focus, faintest first. */
export function linesOf({ run, state }: Stage, heads: HeadName[], focus: number[], fromQuery: boolean): Line[] {
  const lines: Line[] = [];
  heads.forEach((head, place) => {
    for (const at of focus) {
      const weights = fromQuery ? run.row(state, head, at) : run.column(state, head, at);
      weights.forEach((weight, other) => {
        const [query, key] = fromQuery ? [at, other] : [other, at];
        if (weight > FAINT) lines.push({ query, key, weight, head: place });
      });
    }
  });
  return mostOf(lines, MOST_OF_ONE);
}

/** Returns the strong lines of all rows, faintest first. */
export function strongest({ run, state }: Stage, heads: HeadName[]): Line[] {
  const rows = run.axis(state, "queries").labels.length;
  const lines: Line[] = [];
  heads.forEach((head, place) => {
    for (let query = 0; query < rows; query++) {
      run.row(state, head, query).forEach((weight, key) => {
        if (weight > FAINT_OF_ALL) lines.push({ query, key, weight, head: place });
      });
    }
  });
  return mostOf(lines, MOST_OF_ALL);
}

function mostOf(lines: Line[], most: number): Line[] {
  return lines.sort((a, b) => a.weight - b.weight).slice(-most);
}

/** Where lines are drawn: from the left edge to the right, between tokens that are `line` pixels apart. */
export interface Lane {
  left: number;
  right: number;
  line: number;
}

/** Returns the opacity of a line of a token in focus. */
export function focusedOpacity(weight: number): number {
  return 0.08 + 0.92 * weight;
}

/** Returns the opacity of the lines of all tokens: the strongest of them is always easy to see. */
export function opacityOfAll(lines: readonly Line[]): (weight: number) => number {
  const top = Math.max(FAINT_OF_ALL, ...lines.slice(-1).map((line) => line.weight));
  return (weight) => 0.06 + 0.79 * (weight / top) ** 0.8;
}

export function paintLines(
  pen: Pen,
  lines: readonly Line[],
  { left, right, line }: Lane,
  colours: readonly string[],
  opacity: (weight: number) => number,
): void {
  const middle = (at: number) => (at + 0.5) * line;
  for (const { query, key, weight, head } of lines) {
    pen.link([left, middle(query)], [right, middle(key)], colours[head], opacity(weight));
  }
}

/** Draws lines; `inSight` returns whether a line is on the screen. */
type Show = (pen: Pen, inSight: (line: Line) => boolean) => void;

/** Adds a canvas as tall as the screen, which stays on the screen while a long text scrolls and draws its part. */
export function lineCanvas(host: HTMLElement, label: string, { left, right, line }: Lane, height: number) {
  const box = select(host).append("div").attr("class", "lines").style("height", `${height}px`);
  const canvas = box.append("canvas").attr("role", "img").attr("aria-label", label).node() as HTMLCanvasElement;
  const tall = Math.min(height, screen.height);
  const clear = sized(canvas, right - left, tall, devicePixelRatio);
  let show: Show = () => {};

  const paint = () => {
    const top = canvas.offsetTop - (box.node() as HTMLDivElement).offsetTop;
    const inSight = ({ query, key }: Line) =>
      Math.max(query, key) * line >= top - line && Math.min(query, key) * line <= top + tall;
    const pen = clear();
    pen.group(0, -top, () => show(pen, inSight));
  };
  const scrolled = oncePerFrame(paint);
  addEventListener("scroll", scrolled);
  return {
    show(next: Show) {
      show = next;
      paint();
    },
    end: () => removeEventListener("scroll", scrolled),
  };
}
