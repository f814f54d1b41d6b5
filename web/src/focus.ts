// The tokens in focus: pinned ones, or the one that was chosen last, on the side that the state's direction names.
import type { Change, State } from "./state";

export type Direction = State["direction"];

export const UNFOCUSED: Change = { query: null, key: null, pinned: [] };

/** Places of the tokens in focus; several are summed. */
export function focusOf(state: State): number[] {
  if (state.pinned.length) return state.pinned;
  const one = state.direction === "from" ? state.query : state.key;
  return one === null ? [] : [one];
}

/** A token comes into focus, or leaves it. */
export function toggled(state: State, direction: Direction, at: number): Change {
  const there = state.direction === direction ? focusOf(state) : [];
  const rest = there.includes(at) ? there.filter((each) => each !== at) : [...there, at];
  const last = rest.length ? rest[rest.length - 1] : null;
  return { direction, pinned: rest.length > 1 ? rest : [], [direction === "from" ? "query" : "key"]: last };
}

/** The same tokens, looked at from the other side. */
export function turned(state: State): Change {
  const direction = state.direction === "from" ? "to" : "from";
  return { direction, query: state.key, key: state.query, pinned: [] };
}
