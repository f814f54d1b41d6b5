import { describe, expect, it } from "vitest";
import { parsed, type State, Store, written } from "../src/state";

const START: State = {
  view: "head",
  text: 0,
  kind: "encoder",
  layer: 0,
  head: 0,
  heads: null,
  query: null,
  key: null,
  pinned: [],
  direction: "from",
  words: false,
  special: "keep",
  sinks: "keep",
  scale: "auto",
  metric: "",
  residual: true,
  method: "",
  output: 0,
  theme: "auto",
};

describe("the address", () => {
  it("has the parts that differ from the start", () => {
    const state: State = { ...START, layer: 3, head: 1, query: 9, pinned: [2, 9], words: true };
    expect(written(state, START)).toBe("#view=head&layer=3&head=1&query=9&pinned=2,9&words=1");
  });

  it("is read back as it was written, for any state", () => {
    const states: State[] = [
      START,
      { ...START, view: "matrix", kind: "cross", layer: "mean", head: "max", scale: "log", sinks: "drop" },
      { ...START, heads: [0, 5], direction: "to", key: 4, special: "drop", metric: "entropy", theme: "dark", text: 7 },
    ];
    for (const state of states) expect({ ...START, ...parsed(written(state, START)) }).toEqual(state);
  });

  it("ignores parts that are not valid", () => {
    expect(parsed("#view=nothing&layer=-1&query=1e9&words=2&__proto__=1&head=<b>&key=4&unknown=1")).toEqual({ key: 4 });
  });
});

it("a store calls its listeners, and has only legal states", () => {
  const store = new Store(START, (state) => ({ ...state, layer: Math.min(Number(state.layer), 5) }));
  const calls: unknown[] = [];
  store.listen((state, before) => calls.push([before.layer, state.layer]));
  store.change({ layer: 9 });
  expect(store.state.layer).toBe(5);
  expect(calls).toEqual([[0, 5]]);
});
