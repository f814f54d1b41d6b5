// How what a token holds at the top came from the inputs: attention rollout (Abnar and Zuidema 2020), read from one token.
import type { Grid } from "./maps";

/** What one layer passes on: `(Ā + I)` with rows scaled to 1, or Ā itself; [row, column], undefined rows pass themselves. */
export function passed(mean: Grid, residual: boolean): Float64Array {
  const { rows, columns, weights } = mean;
  const made = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let column = 0; column < columns; column++) {
      const weight = weights[row * columns + column] || 0;
      made[row * columns + column] = weight;
      sum += weight;
    }
    const own = residual || sum === 0 ? 1 : 0;
    made[row * columns + row] += own;
    for (let column = 0; column < columns; column++) made[row * columns + column] /= sum + own;
  }
  return made;
}

/** The same map with even weights over what each row can see: what a head would pass on that knows nothing. */
export function even(mean: Grid): Grid {
  const weights = mean.weights.map((weight) => (Number.isNaN(weight) ? weight : 1));
  for (let row = 0; row < mean.rows; row++) {
    const line = weights.subarray(row * mean.columns, (row + 1) * mean.columns);
    const seen = line.reduce((count, weight) => count + (weight === 1 ? 1 : 0), 0);
    line.forEach((weight, column) => {
      line[column] = weight / seen;
    });
  }
  return { ...mean, weights };
}

/**
 * How much of a token at the top stands at each token below each layer: the last of `layers` first weighs its row, and
 * so on down. Entry 0 is the share of each input, the last entry is the token itself. Each sums to 1.
 */
export function shares(layers: readonly Float64Array[], token: number, count: number): Float64Array[] {
  let now = new Float64Array(count);
  now[token] = 1;
  const found = [now];
  for (const layer of [...layers].reverse()) {
    const below = new Float64Array(count);
    now.forEach((share, row) => {
      if (share === 0) return;
      for (let column = 0; column < count; column++) below[column] += share * layer[row * count + column];
    });
    found.unshift(below);
    now = below;
  }
  return found;
}
