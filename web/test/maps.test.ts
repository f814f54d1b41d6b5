import { describe, expect, it } from "vitest";
import {
  added,
  columnOf,
  dequantized,
  folded,
  type Grid,
  kept,
  largest,
  merged,
  rowOf,
  sinksOf,
  total,
  withoutSinks,
} from "../src/maps";

const gone = Number.NaN;

function grid(rows: number[][]): Grid {
  return { rows: rows.length, columns: rows[0].length, weights: Float32Array.from(rows.flat()) };
}

function close(map: Grid, rows: number[][]): void {
  expect([map.rows, map.columns]).toEqual([rows.length, rows[0].length]);
  rows.flat().forEach((weight, at) => {
    if (Number.isNaN(weight)) expect(map.weights[at]).toBeNaN();
    else expect(map.weights[at]).toBeCloseTo(weight, 6);
  });
}

describe("a map that travelled in bytes", () => {
  it("has each row on its own scale, and nothing where nothing may be seen", () => {
    const map = dequantized(Uint8Array.of(255, 0, 51, 255), Float32Array.of(0.5, 1), [2, 2], Uint8Array.of(1, 0, 1, 1));
    close(map, [
      [0.5, gone],
      [0.04, 1],
    ]);
  });

  it("has no weights in a row whose scale is undefined", () => {
    close(dequantized(Uint8Array.of(0, 0), Float32Array.of(gone), [1, 2], null), [[gone, gone]]);
  });
});

describe("words", () => {
  it("get the sum over their pieces and give the mean", () => {
    const pieces = grid([
      [0.5, 0.2, 0.3],
      [0.1, 0.4, 0.5],
      [0.6, 0.2, 0.2],
    ]);
    close(merged(pieces, [0, 1, 1], [0, 1, 1]), [
      [0.5, 0.5],
      [0.35, 0.65],
    ]);
  });

  it("see a word of which they see any piece, and leave undefined rows out of the mean", () => {
    const pieces = grid([
      [1, gone, gone],
      [0.3, 0.7, gone],
      [gone, gone, gone],
    ]);
    close(merged(pieces, [0, 1, 1], [0, 1, 1]), [
      [1, gone],
      [0.3, 0.7],
    ]);
  });
});

describe("what is left out", () => {
  it("leaves rows that sum to one", () => {
    const map = grid([
      [0.5, 0.25, 0.25],
      [1, 0, 0],
    ]);
    close(kept(map, [0, 1], [1, 2]), [
      [0.5, 0.5],
      [gone, gone],
    ]);
  });

  it("keeps the columns of sinks, but nothing in them", () => {
    const map = grid([
      [0.6, 0.2, 0.2],
      [0.8, 0.1, 0.1],
    ]);
    expect(sinksOf(map)).toEqual([0]);
    close(withoutSinks(map, [0]), [
      [gone, 0.5, 0.5],
      [gone, 0.5, 0.5],
    ]);
  });

  it("does not call a key a sink that one row alone can see", () => {
    const map = grid([
      [1, gone],
      [0.1, 0.9],
    ]);
    expect(sinksOf(map)).toEqual([0]);
  });
});

it("heads are folded by their mean or their largest", () => {
  const maps = [grid([[0.2, 0.8]]), grid([[0.6, gone]])];
  close(folded(maps, "mean"), [[0.4, 0.4]]);
  close(folded(maps, "max"), [[0.6, 0.8]]);
});

it("rows and columns are read and summed", () => {
  const map = grid([
    [0.25, gone],
    [0.5, 0.5],
  ]);
  expect([...rowOf(map, 1)]).toEqual([0.5, 0.5]);
  expect([...columnOf(map, 0)]).toEqual([0.25, 0.5]);
  expect([...added([rowOf(map, 0), rowOf(map, 1)])]).toEqual([0.75, 0.5]);
  expect([largest(map.weights), total(map.weights)]).toEqual([0.5, 1.25]);
});
