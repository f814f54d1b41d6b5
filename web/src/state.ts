// The state of the page, which is in its address: `#view=head&kind=encoder&layer=3&head=1&query=9`.
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

const numbers = {
  read: (text: string) => text.split(",").filter(Boolean).map(count),
  write: (values: readonly number[]) => values.join(","),
};

/** Reads each part of an address; throws where the text is not allowed. */
const PARTS: { [K in keyof State]: (text: string) => State[K] } = {
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

function among<T extends string>(allowed: readonly T[], text: string): T {
  const value = allowed.find((candidate) => candidate === text);
  if (value === undefined) throw new Error(`expected ${allowed.join(", ")}, got ${text}`);
  return value;
}

function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`expected a number, got ${text}`);
  return Number(text);
}

/** Returns the valid parts of an address; others are left out. */
export function parsed(hash: string): Change {
  const change: Record<string, unknown> = {};
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const part = Object.hasOwn(PARTS, name) ? PARTS[name as keyof State] : undefined;
    if (!part) continue;
    try {
      change[name] = part(text);
    } catch {
      // an address written by hand can contain anything
    }
  }
  return change as Change;
}

/** Returns the address of a state: only the parts that differ from the start. */
export function written(state: State, start: State): string {
  const parts = new URLSearchParams();
  for (const name of Object.keys(PARTS) as (keyof State)[]) {
    const [value, usual] = [text(state[name]), text(start[name])];
    if (value !== usual || name === "view") parts.set(name, value);
  }
  return `#${parts.toString().replaceAll("%2C", ",")}`;
}

function text(value: State[keyof State]): string {
  if (Array.isArray(value)) return numbers.write(value);
  if (typeof value === "boolean") return value ? "1" : "0";
  return value === null ? "" : String(value);
}

/** The current state; listeners are called after each change. */
export class Store {
  private readonly listeners: ((state: State, before: State) => void)[] = [];

  constructor(
    private current: State,
    private readonly legal: (state: State) => State,
  ) {
    this.current = legal(current);
  }

  get state(): State {
    return this.current;
  }

  change(change: Change): void {
    const before = this.current;
    this.current = this.legal({ ...before, ...change });
    for (const listen of this.listeners) listen(this.current, before);
  }

  listen(listener: (state: State, before: State) => void): void {
    this.listeners.push(listener);
  }
}
