// Written by `npm run build` from page.schema.json; do not edit.

export type Kind = "encoder" | "decoder" | "cross";
/**
 * @minItems 2
 * @maxItems 2
 */
export type Span = [number, number];
/**
 * Number of a binary part.
 */
export type BlobNumber = number;

/**
 * What the page of `attncli view` shows. Blobs are numbers of the page's binary parts; docs/page.md says how they are laid out.
 */
export interface Page {
  schema: "attncli.page/1";
  title: string;
  run: RunInfo;
  /**
   * What a reader should know.
   */
  notes: string[];
  /**
   * The command that would add vectors; empty where they are there.
   */
  neurons: string;
  sides: Side[];
  /**
   * @minItems 1
   */
  maps: [Maps, ...Maps[]];
  stats: Stats | null;
  vectors: Vectors[];
}
export interface RunInfo {
  model: string;
  revision: string | null;
  class: string;
  dtype: string;
  device: string;
  capture: string;
  versions: {
    [k: string]: string;
  };
}
/**
 * One list of tokens; arrays have an entry per piece.
 */
export interface Side {
  /**
   * Exact vocabulary pieces.
   */
  pieces: string[];
  /**
   * What is shown of them.
   */
  labels: string[];
  /**
   * Positions of pieces that the tokenizer added.
   */
  special: number[];
  /**
   * For each piece the place of its word; a special piece is a word of its own.
   */
  words: number[];
  /**
   * What is shown of each word.
   */
  word_labels: string[];
  /**
   * Part of the input, empty for none.
   */
  segments: string[];
  /**
   * Text between the piece before and this.
   */
  before: string[];
  /**
   * Text that the piece covers.
   */
  surface: string[];
  /**
   * Text after the last piece.
   */
  after: string;
}
/**
 * The maps of one text and kind.
 */
export interface Maps {
  text: number;
  name: string;
  kind: Kind;
  /**
   * Number of a side.
   */
  queries: number;
  /**
   * Number of a side.
   */
  keys: number;
  aggregate: "none" | "mean" | "max";
  aggregate_layers: "none" | "mean";
  words: boolean;
  dropped_special: boolean;
  /**
   * First and last query, first and last key that are shown; null for the whole text.
   */
  window: [Span, Span] | null;
  /**
   * whole: every weight; strongest: the strongest of each row, and a pooled map.
   */
  form: "whole" | "strongest";
  pool: "none" | "mean" | "max";
  cell: Span;
  layers: Layer[];
}
export interface Layer {
  layer: number | "mean";
  /**
   * Heads as the model counts them; empty where they are folded into one map.
   */
  heads: number[];
  weights: BlobNumber;
  visible: BlobNumber | null;
  edges: BlobNumber | null;
  /**
   * Edges of a row; 0 where the map is whole.
   */
  per_row: number;
}
/**
 * As in stats.json.
 */
export interface Stats {
  metrics: {
    [k: string]: Metric;
  };
  heads: HeadRow[];
}
export interface Metric {
  unit: string;
  /**
   * @minItems 2
   * @maxItems 2
   */
  range: [number | null, number | null];
  source: string;
  question: string;
}
export interface HeadRow {
  kind: Kind;
  layer: number | string;
  head: number | string;
  [k: string]: number | string | null | Kind;
}
/**
 * Query and key vectors of one layer of a text and kind.
 */
export interface Vectors {
  text: number;
  kind: Kind;
  layer: number;
  heads: number[];
  /**
   * Which key vectors each head reads.
   */
  key_heads: number[];
  dim: number;
  scale: number;
  softcap: number | null;
  /**
   * Whether something is added to the dot product.
   */
  bias: boolean;
  query: BlobNumber;
  key: BlobNumber;
  normalizer: BlobNumber;
}
