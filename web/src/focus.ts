// The tokens in focus: the pinned ones, or the one chosen last; queries for direction `from`, keys for `to`.
import type { Change, State } from "./state";

export type Direction = State["direction"];

export const UNFOCUSED: Change = { query: null, key: null, pinned: [] };

/** Returns the positions of the tokens in focus; the attention of several is summed. */
export function focusOf(state: State): number[] {
  if (state.pinned.length) return state.pinned;
  const chosen = state.direction === "from" ? state.query : state.key;
  return chosen === null ? [] : [chosen];
}

/** Returns the change that adds a token to the focus, or removes it. */
export function toggled(state: State, direction: Direction, at: number): Change {
  const before = state.direction === direction ? focusOf(state) : [];
  const after = before.includes(at) ? before.filter((other) => other !== at) : [...before, at];
  const last = after.length ? after[after.length - 1] : null;
  return { direction, pinned: after.length > 1 ? after : [], [direction === "from" ? "query" : "key"]: last };
}

/** Returns the change of direction: queries become keys and keys become queries. */
export function turned(state: State): Change {
  const direction = state.direction === "from" ? "to" : "from";
  return { direction, query: state.key, key: state.query, pinned: [] };
}
