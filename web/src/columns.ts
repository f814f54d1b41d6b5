// The columns of exported tables that name tokens, with the names and values of the tables that attncli writes.
import type { Axis, Run } from "./run";
import type { State } from "./state";

/** Columns of a query and a key: positions in the text, texts as written, exact vocabulary pieces. */
export const PAIR_COLUMNS = ["query", "key", "query_token", "query_piece", "key_token", "key_piece"];

/** Returns a function from places on both axes to the values of `PAIR_COLUMNS`. */
export function pairNames(run: Run, state: State): (query: number, key: number) => (string | number)[] {
  const [queries, keys] = [run.axis(state, "queries"), run.axis(state, "keys")];
  const [[firstQuery], [firstKey]] = run.maps(state).window ?? [[0], [0]];
  return (query, key) => [firstQuery + query, firstKey + key, ...namesAt(queries, query), ...namesAt(keys, key)];
}

/** Returns the text as written and the exact vocabulary piece of a place on an axis. */
export function namesAt(axis: Axis, at: number): [string, string] {
  return [axis.texts[at] ?? "", axis.pieces[at] ?? ""];
}
