// The state of the page of `attncli qk-map`, which is in its address: `#head=3.1&color=norm`.
import { among, count, type Parts, parsedBy, StoreOf, writtenBy } from "../address";
import type { Theme } from "../ui/theme";

export const COLOURS = ["side", "position", "type", "norm", "text"] as const;
export const SHOWN = ["both", "queries", "keys"] as const;

export type ColourName = (typeof COLOURS)[number];

export interface State {
  kind: string;
  /** The head, such as `3.1`; empty for all heads. */
  head: string;
  color: ColourName;
  search: string;
  show: (typeof SHOWN)[number];
  /** The number of the chosen point. */
  point: number | null;
  theme: Theme;
}

export type Change = Partial<State>;

const PARTS: Parts<State> = {
  kind: (text) => text,
  head: (text) => text,
  color: (text) => among(COLOURS, text),
  search: (text) => text,
  show: (text) => among(SHOWN, text),
  point: (text) => (text === "" ? null : count(text)),
  theme: (text) => among(["auto", "light", "dark"] as const, text),
};

export function parsed(hash: string): Change {
  return parsedBy(PARTS, hash);
}

export function written(state: State, start: State): string {
  return writtenBy(PARTS, state, start);
}

export class Store extends StoreOf<State> {}
