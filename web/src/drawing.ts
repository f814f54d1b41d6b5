// The interface of a view: it draws a state into a host, and gives it as a picture and as numbers for export.
import type { Pen } from "./pen";
import type { Run } from "./run";
import type { State, Store } from "./state";

/** The token under the pointer or with the keyboard focus; it is not part of the address. */
export interface Pointed {
  side: "query" | "key";
  at: number;
}

export interface Stage {
  host: HTMLElement;
  /** Size of the view in pixels. */
  width: number;
  height: number;
  run: Run;
  store: Store;
  state: State;
  /** Shows a line below the view, which screen readers read out. */
  announce(text: string): void;
}

export interface Drawing {
  /** The view as a picture of this size. */
  picture: { width: number; height: number; paint(pen: Pen): void };
  /** The numbers of the view. */
  table(): Table;
  /** Called before the view is removed. */
  end?(): void;
}

export interface Table {
  columns: string[];
  rows: (string | number)[][];
}

export type View = (stage: Stage) => Drawing;
