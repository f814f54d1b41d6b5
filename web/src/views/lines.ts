// The lines between two columns of tokens: which are worth drawing, and a canvas that draws those in sight.
import { select } from "d3-selection";
import type { Stage } from "../drawing";
import { type Pen, sized } from "../pen";
import type { HeadName } from "../state";
import { LINE } from "./tokens";

/** Fainter lines are not drawn, and no more than so many: the strongest, of tokens in focus and of all tokens. */
const FAINT = 0.002;
const MOST_OF_ONE = 800;
const FAINT_OF_ALL = 0.02;
const MOST_OF_ALL = 6000;

export interface Line {
  query: number;
  key: number;
  weight: number;
  /** Which of the heads that are drawn. */
  head: number;
}

/** The lines of the tokens in focus, faintest first. */
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

/** Of all rows the lines worth seeing, faintest first. */
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

/** Lines from one edge to the other; the tokens stand `LINE` apart. */
export function paintLines(
  pen: Pen,
  lines: readonly Line[],
  [left, right]: readonly [number, number],
  colours: readonly string[],
  focused: boolean,
): void {
  const middle = (at: number) => (at + 0.5) * LINE;
  for (const { query, key, weight, head } of lines) {
    const opacity = focused ? 0.08 + 0.92 * weight : 0.75 * weight;
    pen.link([left, middle(query)], [right, middle(key)], colours[head], opacity);
  }
}

/** Paints lines; `inSight` tells whether one can be seen at all. */
type Show = (pen: Pen, inSight: (line: Line) => boolean) => void;

/** A canvas as tall as the screen that stays in sight while a long text scrolls by, and draws the part beside it. */
export function lineCanvas(host: HTMLElement, label: string, width: number, height: number) {
  const box = select(host).append("div").attr("class", "lines").style("height", `${height}px`);
  const canvas = box.append("canvas").attr("role", "img").attr("aria-label", label).node() as HTMLCanvasElement;
  const tall = Math.min(height, screen.height);
  const clear = sized(canvas, width, tall, devicePixelRatio);
  let show: Show = () => {};

  const paint = () => {
    const top = canvas.offsetTop - (box.node() as HTMLDivElement).offsetTop;
    const inSight = ({ query, key }: Line) =>
      Math.max(query, key) * LINE >= top - LINE && Math.min(query, key) * LINE <= top + tall;
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

/** However often it is asked for, done once before the next frame. */
export function oncePerFrame(act: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      act();
    });
  };
}
