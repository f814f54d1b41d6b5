// Points that a search finds, and points inside a drawn outline.
import type { QkMaps } from "./maps";
import type { State } from "./state";

export type Outline = readonly (readonly [number, number])[];

/** Returns a label without the marks of word starts and word ends, in lower case. */
function bare(label: string): string {
  const text = label.toLowerCase();
  return text.replace(/^(·|##)+|·+$/g, "") || text;
}

/**
 * Returns the points whose token is the searched one, whatever its case and its word mark; if there are none, those whose
 * token contains it. Null without a search.
 */
export function searched(maps: QkMaps, state: Pick<State, "kind" | "search">): Set<number> | null {
  const wanted = state.search.trim().toLowerCase();
  if (!wanted) return null;
  const equal = new Set<number>();
  const containing = new Set<number>();
  for (let point = 0; point < maps.table(state).count; point++) {
    const { label } = maps.token(state, point);
    if (bare(label) === wanted || label.toLowerCase() === wanted) equal.add(point);
    if (label.toLowerCase().includes(wanted)) containing.add(point);
  }
  return equal.size ? equal : containing;
}

/** Returns whether a place is inside an outline, by the number of its edges to the right of the place. */
export function inside(outline: Outline, x: number, y: number): boolean {
  let within = false;
  outline.forEach(([x1, y1], at) => {
    const [x2, y2] = outline[(at + 1) % outline.length];
    if (y1 > y !== y2 > y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) within = !within;
  });
  return within;
}

/** Returns whether a point is shown: queries, keys or both are. */
export function isShown(state: Pick<State, "show">, queries: number, point: number): boolean {
  return state.show === "both" || (state.show === "queries") === point < queries;
}

export interface Counted {
  label: string;
  side: "query" | "key";
  points: number[];
}

/** Returns the points by token and side, the most frequent first; of equal counts, in order of the points. */
export function countedTokens(maps: QkMaps, state: Pick<State, "kind">, points: Iterable<number>): Counted[] {
  const counted = new Map<string, Counted>();
  for (const point of points) {
    const { label, side } = maps.token(state, point);
    const name = `${side} ${label}`;
    const entry = counted.get(name) ?? { label, side, points: [] };
    entry.points.push(point);
    counted.set(name, entry);
  }
  return [...counted.values()].sort((a, b) => b.points.length - a.points.length);
}
