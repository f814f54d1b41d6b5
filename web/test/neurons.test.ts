import { expect, it } from "vitest";
import { pairOf } from "../src/neurons";
import type { Vectors } from "../src/schema";
import { bytes, madeRun } from "./made";

/** Two heads that read one key head, over two tokens: q·k is 1 and 0 for the first, the softmax 0.731 and 0.269. */
const QUERY = bytes(Float32Array.of(2, 1, 1, 1), Int16Array.of(32767, 0, 0, 32767, 32767, 0, 0, 32767));
const KEY = bytes(Float32Array.of(1, 1), Int16Array.of(32767, 0, 0, 32767));
const NORMALIZER = bytes(Float32Array.of(Math.log(Math.E + 1), 0, 0, 0));
const VECTORS: Vectors = {
  text: 0,
  kind: "decoder",
  layer: 0,
  heads: [0, 1],
  key_heads: [0, 0],
  dim: 2,
  scale: 0.5,
  softcap: null,
  bias: false,
  query: 2,
  key: 3,
  normalizer: 4,
};

it("a weight comes from the product of two vectors", () => {
  const run = madeRun({}, [QUERY, KEY, NORMALIZER]);
  const pair = pairOf(run, VECTORS, 0, [0, 0], 0.7);
  expect([...pair.query, ...pair.key, ...pair.product]).toEqual([2, 0, 1, 0, 1, 0]);
  expect(pair.dot).toBeCloseTo(1, 6);
  expect(pair.weight).toBeCloseTo(0.7310586, 5);
  expect(pairOf(run, VECTORS, 0, [0, 1], 0.3).weight).toBeCloseTo(0.2689414, 5);
});

it("a soft cap changes the score, and a bias is computed from the weight", () => {
  const run = madeRun({}, [QUERY, KEY, NORMALIZER]);
  expect(pairOf(run, { ...VECTORS, softcap: 2 }, 0, [0, 0], 1).score).toBeCloseTo(2 * Math.tanh(0.5), 6);
  const biased = pairOf(run, { ...VECTORS, bias: true }, 0, [0, 0], 0.25);
  expect(biased.score).toBeCloseTo(Math.log(0.25) + Math.log(Math.E + 1), 5);
  expect(biased.weight).toBe(0.25);
});
