import { expect, it } from "vitest";
import { passed, shares, uniform } from "../src/flow";

const masked = Number.NaN;
const CAUSAL = { rows: 2, columns: 2, weights: Float32Array.of(1, masked, 0.25, 0.75) };

it("a layer passes on half of its input and half of what it attends to", () => {
  expect([...passed(CAUSAL, true)]).toEqual([1, 0, 0.125, 0.875]);
  expect([...passed(CAUSAL, false)]).toEqual([1, 0, 0.25, 0.75]);
});

it("an undefined row passes on its input", () => {
  expect([...passed({ rows: 1, columns: 1, weights: Float32Array.of(masked) }, false)]).toEqual([1]);
});

it("uniform attention covers the visible keys", () => {
  const { weights } = uniform(CAUSAL);
  expect([weights[0], weights[2], weights[3]]).toEqual([1, 0.5, 0.5]);
  expect(weights[1]).toBeNaN();
});

it("shares go down layer by layer, as the product of the rows of the layers", () => {
  const layer = passed(CAUSAL, true);
  const [inputs, middle, top] = shares([layer, layer], 1, 2);
  expect([...top]).toEqual([0, 1]);
  expect([...middle]).toEqual([0.125, 0.875]);
  expect([...inputs]).toEqual([0.125 + 0.875 * 0.125, 0.875 * 0.875]);
});
