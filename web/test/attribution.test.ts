import { describe, expect, it } from "vitest";
import type { Page } from "../src/schema";
import { bytes, madeRun } from "./made";

const SHARES = Float32Array.of(0.1, -0.2, 0.3, 0.4, Number.NaN, 0, 0.5, 0.5, 1, 0, 0, 0, 0, 1, 0, 0);

/** A run with two methods for two predictions: the last token and, after it, the first and the last together. */
function attributed() {
  const run = madeRun({}, [bytes(SHARES)]);
  const attribution: Page["attribution"] = {
    text: 0,
    explain: "labels",
    score: "logit",
    sides: [{ name: "source", side: 0 }],
    methods: [
      { name: "occlusion", signed: true, baseline: "mask" },
      { name: "rollout", signed: false, baseline: null },
    ],
    outputs: [
      { name: "a", score: 1, probability: 0.5, rows: { decoder: [3] } },
      { name: "b", score: 2, probability: null, rows: { decoder: [0, 3] } },
    ],
    shares: 2,
  };
  Object.assign(run.page, { attribution });
  return run;
}

describe("attribution", () => {
  it("is a view only of a page that has one", () => {
    expect(madeRun().views).not.toContain("attribution");
    expect(madeRun().legal({ ...madeRun().start(), view: "attribution" }).view).toBe("head");
    const run = attributed();
    const state = run.legal({ ...run.start(), view: "attribution", method: "rollout", output: 1 });
    expect([state.view, state.method, state.output]).toEqual(["attribution", "rollout", 1]);
    expect(run.legal({ ...state, method: "x", output: 2 })).toMatchObject({ method: "", output: 0 });
  });

  it("has the shares of a method and a prediction", () => {
    const run = attributed();
    const state = { ...run.start(), output: 1 };
    expect([...run.shares(state, 0, 0)]).toEqual([Number.NaN, 0, 0.5, 0.5]);
    expect([...run.shares({ ...state, output: 0 }, 1, 0)]).toEqual([1, 0, 0, 0]);
  });

  it("stands beside the attention of the rows that predict", () => {
    const run = attributed();
    const state = { ...run.start(), layer: 0, head: 0 };
    expect([...(run.predictingRow(state) ?? [])]).toEqual([...run.row(state, 0, 3)]);
    const both = [...(run.predictingRow({ ...state, output: 1 }) ?? [])];
    expect(both[0]).toBeCloseTo((1 + 0.25) / 2, 2);
    // a row of a special token may predict: only keys are left out
    const dropped = { ...state, output: 1, special: "drop" as const };
    expect([...(run.predictingRow(dropped) ?? [])]).toEqual(both.slice(1));
    Object.assign(run.page.attribution?.outputs[0] ?? {}, { rows: {} });
    expect(run.predictingRow(state)).toBeNull();
  });
});
