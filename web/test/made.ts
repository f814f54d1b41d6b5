// A small run, made by hand: two layers of two heads over four pieces, the last two of which are one word.
import { zlibSync } from "fflate";
import { Run } from "../src/run";
import type { Page, Side } from "../src/schema";

export const WEIGHTS = [
  [1, 0, 0, 0, 0.5, 0.5, 0, 0, 0.25, 0.25, 0.5, 0, 0.25, 0.25, 0.25, 0.25],
  [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
];

export const SIDE: Side = {
  pieces: ["[CLS]", "the", "cat", "##s"],
  texts: ["[CLS]", "the", "cat", "s"],
  labels: ["[CLS]", "the", "cat", "##s"],
  special: [0],
  words: [0, 1, 2, 2],
  word_texts: ["[CLS]", "the", "cats"],
  word_labels: ["[CLS]", "the", "cats"],
  segments: ["", "", "", ""],
  cells: [0, 1, 2, 3],
  before: ["", "", " ", ""],
  surface: ["", "the", "cat", "s"],
  after: ".",
};

export function bytes(...parts: ArrayBufferView[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...new Uint8Array(part.buffer, part.byteOffset, part.byteLength)]));
}

/** Encodes the weights of heads with a scale per row. */
export function coded(weights: number[][]): Uint8Array {
  const rows = weights.flatMap((head) => [0, 4, 8, 12].map((at) => head.slice(at, at + 4)));
  const scales = rows.map((row) => Math.max(...row));
  const codes = rows.flatMap((row, at) => row.map((weight) => Math.round(Math.sqrt(weight / scales[at]) * 255)));
  return bytes(Float32Array.from(scales), Uint8Array.from(codes));
}

/** The causal mask, one bit per key. */
export const CAUSAL = Uint8Array.of(0b10001100, 0b11101111);

/** Encodes the two strongest weights of each row of `WEIGHTS`. */
export function edges(weights = WEIGHTS): Uint8Array {
  const rows = weights.flatMap((head) => [0, 4, 8, 12].map((at) => head.slice(at, at + 4)));
  const sorted = rows.map((row) => [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 2));
  const scales = rows.map((row) => Math.max(...row));
  const keys = Uint16Array.from(sorted.flat());
  const codes = Uint8Array.from(
    sorted.flatMap((best, at) => best.map((key) => Math.round(Math.sqrt(rows[at][key] / scales[at]) * 255))),
  );
  return bytes(Float32Array.from(scales), keys, codes);
}

export function madeRun(change: Partial<Page["maps"][0]> = {}, more: Uint8Array[] = []): Run {
  const blobs = [coded(WEIGHTS), CAUSAL, ...more];
  const layer = { heads: [0, 1], weights: 0, visible: 1, edges: null, per_row: 0, combined: {} };
  const page: Page = {
    schema: "attncli.page/1",
    title: "made",
    run: { model: "made", revision: null, class: "Made", dtype: "float32", device: "cpu", capture: "", versions: {} },
    notes: [],
    neurons: "",
    attribution: null,
    sides: [SIDE],
    maps: [
      {
        text: 0,
        name: "the cats.",
        kind: "decoder",
        queries: 0,
        keys: 0,
        aggregate: "none",
        aggregate_layers: "none",
        words: false,
        dropped_special: false,
        window: null,
        form: "whole",
        pool: "none",
        cell: [1, 1],
        layers: [
          { layer: 0, ...layer },
          { layer: 3, ...layer },
        ],
        ...change,
      },
    ],
    start: { layer: 3, head: 0 },
    stats: null,
    vectors: [],
  };
  return new Run(page, (number) => blobs[number]);
}

export function packed(part: Uint8Array): string {
  return btoa(String.fromCharCode(...zlibSync(part)));
}
