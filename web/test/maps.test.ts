import { describe, expect, it } from "vitest";
import {
  added,
  columnOf,
  combined,
  dequantized,
  type Grid,
  isUndefined,
  kept,
  largest,
  merged,
  rowOf,
  sinksOf,
  total,
  withoutSinks,
} from "../src/maps";

const masked = Number.NaN;

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

describe("a map decoded from bytes", () => {
  it("has a scale per row, and no weight where it is masked", () => {
    const map = dequantized(Uint8Array.of(255, 0, 51, 255), Float32Array.of(0.5, 1), [2, 2], Uint8Array.of(1, 0, 1, 1));
    close(map, [
      [0.5, masked],
      [0.04, 1],
    ]);
  });

  it("has no weights in a row whose scale is undefined", () => {
    close(dequantized(Uint8Array.of(0, 0), Float32Array.of(masked), [1, 2], null), [[masked, masked]]);
  });
});

describe("words", () => {
  it("are the sum over pieces as keys and the mean as queries", () => {
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
      [1, masked, masked],
      [0.3, 0.7, masked],
      [masked, masked, masked],
    ]);
    close(merged(pieces, [0, 1, 1], [0, 1, 1]), [
      [1, masked],
      [0.3, 0.7],
    ]);
  });
});

describe("a map without some tokens", () => {
  it("has rows that sum to one", () => {
    const map = grid([
      [0.5, 0.25, 0.25],
      [1, 0, 0],
    ]);
    close(kept(map, [0, 1], [1, 2]), [
      [0.5, 0.5],
      [masked, masked],
    ]);
  });

  it("keeps the columns of sinks without weights", () => {
    const map = grid([
      [0.6, 0.2, 0.2],
      [0.8, 0.1, 0.1],
    ]);
    expect(sinksOf(map)).toEqual([0]);
    close(withoutSinks(map, [0]), [
      [masked, 0.5, 0.5],
      [masked, 0.5, 0.5],
    ]);
  });

  it("has no sink that few rows can see", () => {
    const map = grid([
      [1, masked],
      [0.1, 0.9],
    ]);
    expect(sinksOf(map)).toEqual([0]);
    // of 200 rows 10 see key 190, which is 5 %, and 9 see key 191
    const rows = Array.from({ length: 200 }, (_, row) =>
      Array.from({ length: 200 }, (_, key) => {
        if (key > row) return masked;
        return key === (row < 190 ? 0 : 190) ? 1 : 0;
      }),
    );
    expect(sinksOf(grid(rows))).toEqual([0, 190]);
    for (let row = 190; row < 200; row++)
      rows[row] = rows[row].map((_, key) => (key > row ? masked : key === (row > 190 ? 191 : 0) ? 1 : 0));
    expect(sinksOf(grid(rows))).toEqual([0]);
  });
});

it("heads are combined by their mean or their largest", () => {
  const maps = [grid([[0.2, 0.8]]), grid([[0.6, masked]])];
  close(combined(maps, "mean"), [[0.4, 0.4]]);
  close(combined(maps, "max"), [[0.6, 0.8]]);
});

it("a head counts only in the rows that it has", () => {
  const maps = [
    grid([
      [0.2, 0.8, masked],
      [masked, masked, masked],
      [masked, masked, masked],
    ]),
    grid([
      [0.6, 0.4, masked],
      [0.3, 0.7, masked],
      [masked, masked, masked],
    ]),
  ];
  const rest = [
    [0.3, 0.7, masked],
    [masked, masked, masked],
  ];
  close(combined(maps, "mean"), [[0.4, 0.6, masked], ...rest]);
  close(combined(maps, "max"), [[0.6, 0.8, masked], ...rest]);
  expect([0, 1, 2].map((row) => isUndefined(maps[0], row))).toEqual([false, true, true]);
});

it("rows and columns are read and summed", () => {
  const map = grid([
    [0.25, masked],
    [0.5, 0.5],
  ]);
  expect([...rowOf(map, 1)]).toEqual([0.5, 0.5]);
  expect([...columnOf(map, 0)]).toEqual([0.25, 0.5]);
  expect([...added([rowOf(map, 0), rowOf(map, 1)])]).toEqual([0.75, 0.5]);
  expect([largest(map.weights), total(map.weights)]).toEqual([0.5, 1.25]);
});
