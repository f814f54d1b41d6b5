// From a query vector and a key vector to a weight, step by step.
import type { Run } from "./run";
import type { Vectors } from "./schema";

export interface Pair {
  query: Float32Array;
  key: Float32Array;
  /** The scaled elementwise product; its sum is `dot`. */
  product: Float32Array;
  dot: number;
  /** The score before softmax, with soft cap and bias. */
  score: number;
  normalizer: number;
  weight: number;
}

/** Returns one vector of a part of int16 codes, in which each vector has its own scale. */
function vectorAt(buffer: ArrayBufferLike, lines: number, dim: number, at: number): Float32Array {
  const factor = new Float32Array(buffer, 0, lines)[at] / 32767;
  return Float32Array.from(new Int16Array(buffer, 4 * lines + 2 * at * dim, dim), (code) => code * factor);
}

/** Returns the vectors of a query and a key of one head; the bias is computed from `weight`, the weight of the map. */
export function pairOf(run: Run, vectors: Vectors, head: number, at: [number, number], weight: number): Pair {
  const place = vectors.heads.indexOf(head);
  const group = vectors.key_heads[place];
  const normalizers = new Float32Array(run.bytes(vectors.normalizer).buffer);
  const rows = normalizers.length / vectors.heads.length;
  const keys = keysOf(run, vectors);
  const query = vectorAt(run.bytes(vectors.query).buffer, normalizers.length, vectors.dim, place * rows + at[0]);
  const groups = new Set(vectors.key_heads).size;
  const key = vectorAt(run.bytes(vectors.key).buffer, groups * keys, vectors.dim, group * keys + at[1]);
  const product = query.map((value, n) => value * key[n] * vectors.scale);
  const dot = product.reduce((sum, value) => sum + value, 0);
  const normalizer = normalizers[place * rows + at[0]];
  const capped = vectors.softcap === null ? dot : vectors.softcap * Math.tanh(dot / vectors.softcap);
  const score = vectors.bias ? Math.log(weight) + normalizer : capped;
  return { query, key, product, dot, score, normalizer, weight: vectors.bias ? weight : Math.exp(score - normalizer) };
}

function keysOf(run: Run, vectors: Vectors): number {
  const groups = new Set(vectors.key_heads).size;
  return run.bytes(vectors.key).length / groups / (4 + 2 * vectors.dim);
}
