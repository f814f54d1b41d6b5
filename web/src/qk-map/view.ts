// What the two views of the page share: the stage that they draw on, the selected points, and which points stand out.
import { isShown, searched } from "./found";
import type { QkMaps } from "./maps";
import type { State, Store } from "./state";

export interface Stage {
  host: HTMLElement;
  maps: QkMaps;
  store: Store;
  selection: Selected;
  /** Shows a line below the view, which screen readers read out. */
  announce(text: string): void;
}

export interface QkView {
  /** Draws a state. */
  update(state: State): void;
  end(): void;
}

/** The selected points of a kind, which are the same tokens in every head; null for none. */
export class Selected {
  points: ReadonlySet<number> | null = null;

  constructor(private readonly changed: () => void) {}

  set(points: Iterable<number> | null): void {
    const chosen = points && new Set(points);
    this.points = chosen?.size ? chosen : null;
    this.changed();
  }
}

/** Returns the points that stand out: those that are searched for and those that are selected; null if all are equal. */
export function standingOut({ maps, selection }: Stage, state: State): Set<number> | null {
  const found = searched(maps, state);
  if (!found && !selection.points) return null;
  return new Set([...(found ?? []), ...(selection.points ?? [])]);
}

/** Returns the points that are shown, in the order in which they are drawn: those that stand out come last. */
export function drawnOrder({ maps }: Stage, state: State, out: ReadonlySet<number> | null): number[] {
  const { count, queries } = maps.table(state);
  const shown: number[] = [];
  for (let point = 0; point < count; point++) if (isShown(state, queries, point)) shown.push(point);
  // queries and keys by turns, so that neither covers the other
  const turn = (point: number) => ((point < queries ? point : point - queries) * 7919) % 10_007;
  shown.sort((a, b) => turn(a) - turn(b));
  if (!out) return shown;
  return [...shown.filter((point) => !out.has(point)), ...shown.filter((point) => out.has(point))];
}

/** Returns a number with two decimals; a dash where it is undefined. */
export function short(value: number | null): string {
  return value === null || Number.isNaN(value) ? "–" : value.toFixed(2);
}
