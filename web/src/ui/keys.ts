// The keys of the page: each with its description in the help, and the change that it makes.
import { turned, UNFOCUSED } from "../focus";
import type { Run } from "../run";
import { type Change, type State, VIEWS, type ViewName } from "../state";
import { type Described, stepped } from "./keyboard";
import { otherTheme } from "./theme";

export interface Key extends Described {
  /** The view without which a page does not have the key. */
  needs?: ViewName;
  change(run: Run, state: State): Change;
}

export const KEYS: Key[] = [
  ...VIEWS.map((view, at) => ({ keys: [String(at + 1)], does: `${view} view`, needs: view, change: () => ({ view }) })),
  { keys: ["ArrowRight"], does: "next head", change: (run, state) => headBy(run, state, 1) },
  { keys: ["ArrowLeft"], does: "previous head", change: (run, state) => headBy(run, state, -1) },
  { keys: ["ArrowDown"], does: "next layer", change: (run, state) => layerBy(run, state, 1) },
  { keys: ["ArrowUp"], does: "previous layer", change: (run, state) => layerBy(run, state, -1) },
  { keys: ["j"], does: "next query token", change: (run, state) => tokenBy(run, state, "query", 1) },
  { keys: ["k"], does: "previous query token", change: (run, state) => tokenBy(run, state, "query", -1) },
  { keys: ["J"], does: "next key token", change: (run, state) => tokenBy(run, state, "key", 1) },
  { keys: ["K"], does: "previous key token", change: (run, state) => tokenBy(run, state, "key", -1) },
  { keys: ["d"], does: "attention from tokens, or to tokens", change: (_, state) => turned(state) },
  { keys: ["a"], does: "lines of all heads, or of one", change: (run, state) => allHeads(run, state) },
  { keys: ["w"], does: "words or pieces", change: (_, state) => ({ words: !state.words, ...UNFOCUSED }) },
  {
    keys: ["s"],
    does: "with or without special tokens",
    change: (_, state) => ({ special: other(state.special), ...UNFOCUSED }),
  },
  { keys: ["x"], does: "with or without sinks", change: (_, state) => ({ sinks: other(state.sinks) }) },
  {
    keys: ["l"],
    does: "logarithmic or linear colours",
    change: (_, state) => ({ scale: state.scale === "log" ? "linear" : "log" }),
  },
  { keys: ["t"], does: "light or dark", change: (_, state) => otherTheme(state) },
  {
    keys: ["m"],
    does: "next method of attribution",
    needs: "attribution",
    change: (run, state) => nextMethod(run, state),
  },
  { keys: ["o"], does: "next prediction", needs: "attribution", change: (run, state) => nextOutput(run, state) },
  { keys: ["Escape"], does: "no token in focus", change: () => UNFOCUSED },
];

/** Returns the keys of a page. */
export function keysOf(run: Run): Key[] {
  return KEYS.filter(({ needs }) => !needs || run.views.includes(needs));
}

function other(value: "keep" | "drop"): "keep" | "drop" {
  return value === "keep" ? "drop" : "keep";
}

function headBy(run: Run, state: State, by: number): Change {
  const { heads } = run.layer(state);
  return { head: stepped(heads, heads.indexOf(state.head as number), by) ?? state.head, heads: null };
}

function layerBy(run: Run, state: State, by: number): Change {
  const layers = run.maps(state).layers.map((layer) => layer.layer);
  return { layer: stepped(layers, layers.indexOf(state.layer), by) ?? state.layer };
}

function tokenBy(run: Run, state: State, side: "query" | "key", by: number): Change {
  const labels = run.axis(state, side === "query" ? "queries" : "keys").labels;
  const places = [...labels.keys()];
  const from = state[side] ?? (by > 0 ? -1 : 0);
  return { [side]: stepped(places, from, by) ?? null, pinned: [], direction: side === "query" ? "from" : "to" };
}

/** Returns the change to the next method; all methods come before the first. */
function nextMethod(run: Run, state: State): Change {
  const names = ["", ...(run.page.attribution?.methods ?? []).map(({ name }) => name)];
  return { view: "attribution", method: stepped(names, names.indexOf(state.method), 1) ?? "" };
}

function nextOutput(run: Run, state: State): Change {
  const outputs = [...(run.page.attribution?.outputs ?? []).keys()];
  return { view: "attribution", output: stepped(outputs, state.output, 1) ?? 0 };
}

function allHeads(run: Run, state: State): Change {
  return { heads: state.heads ? null : run.layer(state).heads };
}
