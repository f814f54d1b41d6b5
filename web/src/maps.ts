// Maps of attention as plain numbers, and how they are read: as words, without special tokens, without sinks.
// Everything here is a pure function; NaN stands for what cannot be seen, is undefined or was not kept.

/** weights[row * columns + column] */
export interface Grid {
  rows: number;
  columns: number;
  weights: Float32Array;
}

/** Which row or column each old one becomes, -1 where it goes. */
export type Places = readonly number[];

export function grid(rows: number, columns: number): Grid {
  return { rows, columns, weights: new Float32Array(rows * columns).fill(Number.NaN) };
}

/** One byte per weight, each row with its own scale; bits say what is visible, none that all is. */
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

/** A weight of its byte and the largest of its row: by the square, so that small ones keep more of themselves. */
export function decoded(code: number, largest: number): number {
  return (code / 255) ** 2 * largest;
}

export function rowOf(map: Grid, row: number): Float32Array {
  return map.weights.subarray(row * map.columns, (row + 1) * map.columns);
}

export function columnOf(map: Grid, column: number): Float32Array {
  return Float32Array.from({ length: map.rows }, (_, row) => map.weights[row * map.columns + column]);
}

/** Attention to a word is the sum over its pieces, from a word the mean over those whose row is defined. */
export function merged(map: Grid, queries: Places, keys: Places): Grid {
  const made = grid(Math.max(...queries) + 1, Math.max(...keys) + 1);
  const counts = new Float64Array(made.rows);
  const sums = new Float64Array(made.rows * made.columns).fill(Number.NaN);
  for (let row = 0; row < map.rows; row++) {
    const weights = rowOf(map, row);
    if (weights.every(Number.isNaN)) continue;
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

/** Only these rows and columns; what remains of each row is scaled up to 1. */
export function kept(map: Grid, queries: readonly number[], keys: readonly number[]): Grid {
  const made = grid(queries.length, keys.length);
  queries.forEach((query, row) => {
    const weights = rowOf(map, query);
    const remains = keys.reduce((sum, key) => sum + (weights[key] || 0), 0);
    keys.forEach((key, column) => {
      made.weights[row * made.columns + column] = remains > 0 ? weights[key] / remains : Number.NaN;
    });
  });
  return made;
}

/** What share of a defined row a key gets at least to be a sink, as in `attncli stats --profile`. */
export const SINK = 0.3;

/** The keys that get at least `SINK` of the attention of the rows that see them, in the mean. */
export function sinksOf(map: Grid): number[] {
  return Array.from({ length: map.columns }, (_, key) => key).filter((key) => {
    const seen = columnOf(map, key).filter((weight) => !Number.isNaN(weight));
    return seen.length > 1 && total(seen) / seen.length >= SINK;
  });
}

/** The columns of sinks become invisible, rows are scaled up to 1. */
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

/** The mean or the largest over maps of one shape, of what is visible in any. */
export function folded(maps: readonly Grid[], how: "mean" | "max"): Grid {
  const made = grid(maps[0].rows, maps[0].columns);
  for (let at = 0; at < made.weights.length; at++) {
    let sum = 0;
    let most = Number.NEGATIVE_INFINITY;
    let seen = 0;
    for (const map of maps) {
      const weight = map.weights[at];
      if (Number.isNaN(weight)) continue;
      seen++;
      sum += weight;
      most = Math.max(most, weight);
    }
    if (seen) made.weights[at] = how === "mean" ? sum / maps.length : most;
  }
  return made;
}

/** The sum of rows (or columns), NaN where none of them is visible. */
export function added(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts[0] ?? [], (_, at) => {
    const seen = parts.map((part) => part[at]).filter((weight) => !Number.isNaN(weight));
    return seen.length ? total(seen) : Number.NaN;
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
