// Maps of attention as plain numbers, and their transforms: words, no special tokens, no sinks, combined heads.
// Everything here is a pure function; NaN is a weight that is masked, undefined or not in the page. A row is undefined
// where it has no weight at all; in other rows NaN is masked.

/** weights[row * columns + column] */
export interface Grid {
  rows: number;
  columns: number;
  weights: Float32Array;
}

/** The new row or column of each old one; -1 where it is dropped. */
export type Places = readonly number[];

export function grid(rows: number, columns: number): Grid {
  return { rows, columns, weights: new Float32Array(rows * columns).fill(Number.NaN) };
}

/** Returns the map of one byte per weight and a scale per row; without a mask, everything is visible. */
export function dequantized(
  codes: Uint8Array,
  scales: Float32Array,
  shape: [number, number],
  visible: Uint8Array | null,
): Grid {
  const [rows, columns] = shape;
  const made = grid(rows, columns);
  for (let row = 0; row < rows; row++) {
    for (let at = row * columns; at < (row + 1) * columns; at++) {
      if (visible === null || visible[at]) made.weights[at] = decoded(codes[at], scales[row]);
    }
  }
  return made;
}

/** Returns a weight from its byte and the largest weight of its row; the square keeps small weights more exact. */
export function decoded(code: number, largest: number): number {
  return (code / 255) ** 2 * largest;
}

export function rowOf(map: Grid, row: number): Float32Array {
  return map.weights.subarray(row * map.columns, (row + 1) * map.columns);
}

/** Returns whether a row has no weights at all. */
export function isUndefined(map: Grid, row: number): boolean {
  return rowOf(map, row).every(Number.isNaN);
}

export function columnOf(map: Grid, column: number): Float32Array {
  return Float32Array.from({ length: map.rows }, (_, row) => map.weights[row * map.columns + column]);
}

/** Returns the map merged into words: the sum over the pieces of a key, the mean over the defined pieces of a query. */
export function merged(map: Grid, queries: Places, keys: Places): Grid {
  const made = grid(Math.max(...queries) + 1, Math.max(...keys) + 1);
  const counts = new Float64Array(made.rows);
  const sums = new Float64Array(made.rows * made.columns).fill(Number.NaN);
  for (let row = 0; row < map.rows; row++) {
    const weights = rowOf(map, row);
    if (isUndefined(map, row)) continue;
    counts[queries[row]]++;
    const start = queries[row] * made.columns;
    weights.forEach((weight, column) => {
      const at = start + keys[column];
      if (!Number.isNaN(weight)) sums[at] = (Number.isNaN(sums[at]) ? 0 : sums[at]) + weight;
    });
  }
  made.weights.set(sums.map((sum, at) => sum / counts[Math.floor(at / made.columns)]));
  return made;
}

/** Returns only these rows and columns, with each row scaled to 1. */
export function kept(map: Grid, queries: readonly number[], keys: readonly number[]): Grid {
  const made = grid(queries.length, keys.length);
  queries.forEach((query, row) => {
    const weights = rowOf(map, query);
    const remaining = keys.reduce((sum, key) => sum + (weights[key] || 0), 0);
    keys.forEach((key, column) => {
      made.weights[row * made.columns + column] = remaining > 0 ? weights[key] / remaining : Number.NaN;
    });
  });
  return made;
}

/** The mean attention that makes a key a sink, as in `attncli stats --profile`. */
export const SINK = 0.3;

/** Returns the keys that receive at least `SINK` in the mean over the rows that see them: 5 and 5 % of all, or all. */
export function sinksOf(map: Grid): number[] {
  const rows = Array.from({ length: map.rows }, (_, row) => row).filter((row) => !isUndefined(map, row)).length;
  const least = Math.max(1, Math.min(rows, Math.max(5, 0.05 * rows)));
  return Array.from({ length: map.columns }, (_, key) => key).filter((key) => {
    const visible = columnOf(map, key).filter((weight) => !Number.isNaN(weight));
    return visible.length >= least && total(visible) / visible.length >= SINK;
  });
}

/** Returns the map with the columns of sinks masked and rows scaled to 1. */
export function withoutSinks(map: Grid, sinks: readonly number[]): Grid {
  const keys = Array.from({ length: map.columns }, (_, key) => key).filter((key) => !sinks.includes(key));
  const rows = Array.from({ length: map.rows }, (_, row) => row);
  const rest = kept(map, rows, keys);
  const made = grid(map.rows, map.columns);
  for (const row of rows) {
    keys.forEach((key, column) => {
      made.weights[row * made.columns + key] = rest.weights[row * rest.columns + column];
    });
  }
  return made;
}

/**
 * Returns the mean or the largest over maps of one shape. A map counts in the rows that it has, with 0 for masked keys; a
 * key is masked where it is masked in all of them.
 */
export function combined(maps: readonly Grid[], how: "mean" | "max"): Grid {
  const made = grid(maps[0].rows, maps[0].columns);
  for (let row = 0; row < made.rows; row++) {
    const rows = maps.filter((map) => !isUndefined(map, row)).map((map) => rowOf(map, row));
    for (let column = 0; column < made.columns; column++) {
      let [sum, most, visible] = [0, 0, false];
      for (const weights of rows) {
        const weight = weights[column];
        if (Number.isNaN(weight)) continue;
        visible = true;
        sum += weight;
        if (weight > most) most = weight;
      }
      if (visible) made.weights[row * made.columns + column] = how === "mean" ? sum / rows.length : most;
    }
  }
  return made;
}

/** Returns the sum of rows or columns, NaN where none has a weight. */
export function added(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts[0] ?? [], (_, at) => {
    const visible = parts.map((part) => part[at]).filter((weight) => !Number.isNaN(weight));
    return visible.length ? total(visible) : Number.NaN;
  });
}

export function largest(weights: Iterable<number>): number {
  let most = 0;
  for (const weight of weights) if (weight > most) most = weight;
  return most;
}

export function total(weights: Iterable<number>): number {
  let sum = 0;
  for (const weight of weights) if (!Number.isNaN(weight)) sum += weight;
  return sum;
}
