import { describe, expect, it } from "vitest";
import { unpack } from "../src/blobs";
import { pairNames } from "../src/columns";
import type { State } from "../src/state";
import { coded, edges, madeRun, packed, SIDE, WEIGHTS } from "./made";

function shown(values: Float32Array): (number | null)[] {
  return [...values].map((value) => (Number.isNaN(value) ? null : Math.round(value * 1000) / 1000));
}

describe("a run", () => {
  const run = madeRun();
  const start = run.legal(run.start());

  it("starts with the layer and the head that the page names", () => {
    expect([start.kind, start.layer, start.head]).toEqual(["decoder", 3, 0]);
  });

  it("returns the map of a head, without weights where it is masked", () => {
    const map = run.grid(start);
    for (const [at, weight] of WEIGHTS[0].entries()) {
      const visible = at % 4 <= Math.floor(at / 4);
      if (visible) expect(Math.abs(map.weights[at] - weight)).toBeLessThanOrEqual(1 / 255);
      else expect(map.weights[at]).toBeNaN();
    }
  });

  it("reads words and drops special tokens", () => {
    const state: State = { ...start, words: true, special: "drop" };
    expect(run.axis(state, "keys").labels).toEqual(["the", "cats"]);
    expect(run.axis(state, "keys").places).toEqual([-1, 0, 1, 1]);
    expect(pairNames(run, state)(0, 1)).toEqual([0, 1, "the", "the", "cats", "cat ##s"]);
    const map = run.grid(state);
    expect(shown(map.weights).map((weight) => weight && Math.round(weight * 100) / 100)).toEqual([1, null, 0.33, 0.67]);
  });

  it("names tokens as written, with their piece and their position in the whole text", () => {
    const cut = madeRun({
      window: [
        [5, 8],
        [0, 3],
      ],
    });
    expect(pairNames(cut, start)(1, 3)).toEqual([6, 3, "the", "the", "s", "##s"]);
  });

  it("combines heads", () => {
    expect(run.row(start, "mean", 3)[3]).toBeCloseTo(0.625, 2);
    expect(run.row(start, "max", 3)[3]).toBeCloseTo(1, 2);
  });

  it("reads a column", () => {
    expect(shown(run.column({ ...start, head: 1 }, 1, 1))).toEqual([null, 1, 0, 0]);
  });
});

describe("a state that a run cannot show", () => {
  const run = madeRun();
  const start = run.start();

  it("becomes the closest one that it can", () => {
    const impossible: State = { ...start, kind: "cross", layer: 7, head: 9, query: 40, pinned: [2, 2, 40, 1], text: 5 };
    const { kind, layer, head, query, pinned, text } = run.legal(impossible);
    expect({ kind, layer, head, query, pinned, text }).toEqual({
      kind: "decoder",
      layer: run.page.start.layer,
      head: run.page.start.head,
      query: null,
      pinned: [1, 2],
      text: 0,
    });
  });

  it("keeps special tokens where there are no others", () => {
    const onlySpecial = madeRun();
    onlySpecial.page.sides[0] = { ...SIDE, special: [0, 1, 2, 3] };
    expect(onlySpecial.legal({ ...start, special: "drop" }).special).toBe("keep");
  });
});

describe("a run of which only the strongest weights were kept", () => {
  const layer = { layer: 0, heads: [0, 1], weights: 0, visible: null, edges: 2, per_row: 2, combined: {} };
  // values that the page could not compute itself
  const ofAll = [[0.5, 0, 0.25, 0, 0.75, 0.25, 0, 0, 0.5, 0.25, 0.125, 0, 1, 0, 0, 0]];
  const mean = { ...layer, heads: [], weights: 3, edges: 4 };
  const run = madeRun({ form: "strongest", pool: "mean", layers: [{ ...layer, combined: { mean } }] }, [
    edges(),
    coded(ofAll),
    edges(ofAll),
  ]);
  const start = run.legal(run.start());

  it("shows the heads as they were combined before pooling, in the map and in the lines", () => {
    const state = run.legal({ ...start, head: "mean" });
    expect(state.head).toBe("mean");
    const map = run.grid(state);
    ofAll[0].forEach((weight, at) => {
      expect(map.weights[at]).toBeCloseTo(weight, 2);
    });
    expect(shown(run.row(state, "mean", 1))).toEqual([0.75, 0.249, null, null]);
    expect(shown(run.column(state, "mean", 0))).toEqual([0.5, 0.75, 0.5, 1]);
  });

  it("does not combine heads that were not combined before pooling", () => {
    expect(run.combinations(start)).toEqual(["mean"]);
    expect(run.legal({ ...start, head: "max" }).head).toBe(0);
  });

  it("returns the mean of some heads for the keys that it knows in all of them", () => {
    expect(shown(run.meanOf(start, [0, 1], "from", 1))).toEqual([null, 0.75, null, null]);
  });

  it("returns the known weights of a row and of a column", () => {
    expect(shown(run.row(start, 0, 1))).toEqual([0.5, 0.5, null, null]);
    expect(shown(run.column({ ...start, head: 1 }, 1, 3))).toEqual([null, null, null, 1]);
    expect(run.row(start, 0, 2)[2]).toBeCloseTo(0.5, 2);
  });

  it("cannot merge words or drop special tokens", () => {
    expect(run.legal({ ...start, words: true, special: "drop" })).toMatchObject({ words: false, special: "keep" });
  });
});

it("parts are unpacked from base64 and zlib", () => {
  expect([...unpack(packed(Uint8Array.of(1, 2, 250)))]).toEqual([1, 2, 250]);
});
