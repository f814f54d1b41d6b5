// What a view is: it draws a state into a host, and can say it again as a picture and as numbers.
import type { Pen } from "./pen";
import type { Run } from "./run";
import type { State, Store } from "./state";

/** A token under the pointer or with the keyboard's focus; it is not part of the address. */
export interface Pointed {
  side: "query" | "key";
  at: number;
}

export interface Stage {
  host: HTMLElement;
  /** How much room there is, in pixels. */
  width: number;
  height: number;
  run: Run;
  store: Store;
  state: State;
  /** Says something to whoever cannot see the drawing, and beside it. */
  say(text: string): void;
}

export interface Drawing {
  /** The whole view as a picture of this size. */
  picture: { width: number; height: number; paint(pen: Pen): void };
  /** Its numbers: a head and rows. */
  table(): Table;
  /** Called before the view goes. */
  end?(): void;
}

export interface Table {
  columns: string[];
  rows: (string | number)[][];
}

export type View = (stage: Stage) => Drawing;
