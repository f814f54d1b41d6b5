// The keys of the page: each with its description in the help, and what it does.
import { type Described, stepped } from "../ui/keyboard";
import { otherTheme } from "../ui/theme";
import type { HeadView } from "./head";
import type { QkMaps } from "./maps";
import { COLOURS, SHOWN, type State, type Store } from "./state";
import type { Selected } from "./view";

/** What the keys act on; `head` is null where all heads are shown. */
export interface Acted {
  maps: QkMaps;
  store: Store;
  selection: Selected;
  head(): HeadView | null;
  /** Opens the head that was open last. */
  openHead(): void;
  toggleLasso(): void;
  focusSearch(): void;
}

export interface Key extends Described {
  act(acted: Acted, state: State): void;
}

export const KEYS: Key[] = [
  { keys: ["1"], does: "all heads", act: ({ store }) => store.change({ head: "" }) },
  { keys: ["2"], does: "one head", act: ({ openHead }) => openHead() },
  { keys: ["ArrowRight"], does: "next head", act: (acted, state) => headBy(acted, state, 1) },
  { keys: ["ArrowLeft"], does: "previous head", act: (acted, state) => headBy(acted, state, -1) },
  { keys: ["ArrowDown"], does: "next layer", act: (acted, state) => layerBy(acted, state, 1) },
  { keys: ["ArrowUp"], does: "previous layer", act: (acted, state) => layerBy(acted, state, -1) },
  { keys: ["j"], does: "next query token", act: ({ head }) => head()?.step("query", 1) },
  { keys: ["k"], does: "previous query token", act: ({ head }) => head()?.step("query", -1) },
  { keys: ["J"], does: "next key token", act: ({ head }) => head()?.step("key", 1) },
  { keys: ["K"], does: "previous key token", act: ({ head }) => head()?.step("key", -1) },
  { keys: ["+", "="], does: "nearer", act: ({ head }) => head()?.zoomBy(1) },
  { keys: ["-"], does: "farther", act: ({ head }) => head()?.zoomBy(-1) },
  { keys: ["0"], does: "the whole map", act: ({ head }) => head()?.whole() },
  { keys: ["A"], does: "move the map: left", act: ({ head }) => head()?.moveBy(-1, 0) },
  { keys: ["D"], does: "move the map: right", act: ({ head }) => head()?.moveBy(1, 0) },
  { keys: ["W"], does: "move the map: up", act: ({ head }) => head()?.moveBy(0, -1) },
  { keys: ["S"], does: "move the map: down", act: ({ head }) => head()?.moveBy(0, 1) },
  { keys: ["l"], does: "lasso: drag draws around tokens", act: ({ toggleLasso }) => toggleLasso() },
  { keys: ["/"], does: "search for a token", act: ({ focusSearch }) => focusSearch() },
  { keys: ["c"], does: "next colours", act: ({ store }, { color }) => store.change({ color: after(COLOURS, color) }) },
  {
    keys: ["q"],
    does: "queries, keys or both",
    act: ({ store }, { show }) => store.change({ show: after(SHOWN, show) }),
  },
  { keys: ["t"], does: "light or dark", act: ({ store }, state) => store.change(otherTheme(state)) },
  {
    keys: ["Escape"],
    does: "no token, no search, no selection",
    act: ({ store, selection }) => {
      selection.set(null);
      store.change({ point: null, search: "" });
    },
  },
];

/** Returns the member after this one; the first one after the last. */
function after<T>(members: readonly T[], member: T): T {
  return stepped(members, members.indexOf(member), 1) as T;
}

/** Opens the head `by` places after this one; the first or the last where all are shown. */
function headBy({ maps, store }: Acted, state: State, by: number): void {
  const names = maps.names(state);
  const at = names.indexOf(state.head);
  store.change({ head: stepped(names, at < 0 && by < 0 ? 0 : at, by) });
}

/** Opens the head of the same number in the next or the previous layer that has one. */
function layerBy(acted: Acted, state: State, by: number): void {
  const number = state.head.split(".")[1];
  const names = acted.maps.names(state).filter((name) => name.split(".")[1] === number);
  if (names.length) acted.store.change({ head: stepped(names, names.indexOf(state.head), by) });
  else headBy(acted, state, by);
}
