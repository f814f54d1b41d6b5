// How much of each input is in a token at the top: attention rollout (Abnar and Zuidema 2020), from one token down.
import type { Grid } from "./maps";

/** Returns the step of one layer [row, column]: `Ā + I` with rows scaled to 1, or Ā; the identity in undefined rows. */
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

/** Returns the map with uniform weights over the visible keys of each row, as a baseline. */
export function uniform(mean: Grid): Grid {
  const weights = mean.weights.map((weight) => (Number.isNaN(weight) ? weight : 1));
  for (let row = 0; row < mean.rows; row++) {
    const line = weights.subarray(row * mean.columns, (row + 1) * mean.columns);
    const visible = line.reduce((count, weight) => count + (weight === 1 ? 1 : 0), 0);
    line.forEach((weight, column) => {
      line[column] = weight / visible;
    });
  }
  return { ...mean, weights };
}

/**
 * Returns the shares of a token at the top in each token of each level: entry 0 has the share of each input, the last
 * entry is the token itself. `layers` are the steps from the lowest layer to the highest. Each entry sums to 1.
 */
export function shares(layers: readonly Float64Array[], token: number, count: number): Float64Array[] {
  let level = new Float64Array(count);
  level[token] = 1;
  const levels = [level];
  for (const layer of [...layers].reverse()) {
    const below = new Float64Array(count);
    level.forEach((share, row) => {
      if (share === 0) return;
      for (let column = 0; column < count; column++) below[column] += share * layer[row * count + column];
    });
    levels.unshift(below);
    level = below;
  }
  return levels;
}
