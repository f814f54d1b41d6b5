// The state of the page, which is in its address: `#view=head&kind=encoder&layer=3&head=1&query=9`.
import { among, count, numbers, type Parts, parsedBy, StoreOf, writtenBy } from "./address";
import type { Kind } from "./schema";

export const VIEWS = ["head", "model", "matrix", "neuron", "text", "numbers", "flow", "attribution"] as const;

export type ViewName = (typeof VIEWS)[number];
export type LayerName = number | "mean";
/** The number of a head, or how all heads are combined. */
export type HeadName = number | "mean" | "max";

export interface State {
  view: ViewName;
  text: number;
  kind: Kind;
  layer: LayerName;
  head: HeadName;
  /** The heads whose lines the head view draws; null for all. */
  heads: number[] | null;
  /** The chosen query token and key token; the attention of several pinned tokens is summed. */
  query: number | null;
  key: number | null;
  pinned: number[];
  /** from: the focus is on query tokens; to: on key tokens. */
  direction: "from" | "to";
  words: boolean;
  special: "keep" | "drop";
  sinks: "keep" | "drop";
  scale: "auto" | "linear" | "log";
  metric: string;
  /** Whether flow includes the residual connection. */
  residual: boolean;
  /** The method of attribution, empty for all; and the number of the prediction. */
  method: string;
  output: number;
  theme: "auto" | "light" | "dark";
}

export type Change = Partial<State>;

const PARTS: Parts<State> = {
  view: (text) => among(VIEWS, text),
  text: count,
  kind: (text) => text,
  layer: (text) => (text === "mean" ? text : count(text)),
  head: (text) => (text === "mean" || text === "max" ? text : count(text)),
  heads: numbers.read,
  query: count,
  key: count,
  pinned: numbers.read,
  direction: (text) => among(["from", "to"] as const, text),
  words: (text) => among(["0", "1"] as const, text) === "1",
  special: (text) => among(["keep", "drop"] as const, text),
  sinks: (text) => among(["keep", "drop"] as const, text),
  scale: (text) => among(["auto", "linear", "log"] as const, text),
  metric: (text) => text,
  residual: (text) => among(["0", "1"] as const, text) === "1",
  method: (text) => text,
  output: count,
  theme: (text) => among(["auto", "light", "dark"] as const, text),
};

/** Returns the valid parts of an address; others are left out. */
export function parsed(hash: string): Change {
  return parsedBy(PARTS, hash);
}

/** Returns the address of a state: only the parts that differ from the start. */
export function written(state: State, start: State): string {
  return writtenBy(PARTS, state, start, "view");
}

export class Store extends StoreOf<State> {}
