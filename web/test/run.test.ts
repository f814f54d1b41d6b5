import { describe, expect, it } from "vitest";
import { unpack } from "../src/blobs";
import type { State } from "../src/state";
import { edges, madeRun, packed, SIDE, WEIGHTS } from "./made";

function shown(values: Float32Array): (number | null)[] {
  return [...values].map((value) => (Number.isNaN(value) ? null : Math.round(value * 1000) / 1000));
}

describe("a run", () => {
  const run = madeRun();
  const start = run.legal(run.start());

  it("starts with its first layer and head", () => {
    expect([start.kind, start.layer, start.head]).toEqual(["decoder", 0, 0]);
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
    const map = run.grid(state);
    expect(shown(map.weights).map((weight) => weight && Math.round(weight * 100) / 100)).toEqual([1, null, 0.33, 0.67]);
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
      layer: 0,
      head: 0,
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
  const layer = { layer: 0, heads: [0, 1], weights: 0, visible: null, edges: 2, per_row: 2 };
  const run = madeRun({ form: "strongest", pool: "mean", layers: [layer] }, [edges()]);
  const start = run.legal(run.start());

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
