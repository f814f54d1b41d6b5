// Written by `npm run build` from page.schema.json; do not edit.

/**
 * encoder, decoder or cross; followed by a scale where rows or keys are not tokens of the text.
 */
export type Kind = string;
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
 * The content of the page of `attncli view`. Blobs are numbers of its binary parts; docs/page.md describes their layout.
 */
export interface Page {
  schema: "attncli.page/1";
  title: string;
  run: RunInfo;
  /**
   * Notes for the reader.
   */
  notes: string[];
  /**
   * The command that would add vectors; empty where there are vectors.
   */
  neurons: string;
  sides: Side[];
  /**
   * @minItems 1
   */
  maps: [Maps, ...Maps[]];
  /**
   * The layer and the head of the first maps that the page opens on.
   */
  start: {
    layer: number | "mean";
    /**
     * null where all heads are combined.
     */
    head: number | null;
  };
  stats: Stats | null;
  vectors: Vectors[];
  attribution: Attribution | null;
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
 * One list of tokens; arrays have one entry per piece.
 */
export interface Side {
  /**
   * Exact vocabulary pieces.
   */
  pieces: string[];
  /**
   * The text of each piece as written, as in tables.
   */
  texts: string[];
  /**
   * Their labels.
   */
  labels: string[];
  /**
   * Positions of special tokens.
   */
  special: number[];
  /**
   * The number of the word of each piece; a special token is a word by itself.
   */
  words: number[];
  /**
   * The text of each word as written, as in tables.
   */
  word_texts: string[];
  /**
   * The label of each word.
   */
  word_labels: string[];
  /**
   * The segment of each piece; empty for none.
   */
  segments: string[];
  /**
   * The number of the cell of each piece in the text; pieces that split a character share a cell.
   */
  cells: number[];
  /**
   * The text between the previous piece and this one.
   */
  before: string[];
  /**
   * The text that the piece covers; of pieces that share a cell, the first has all of it.
   */
  surface: string[];
  /**
   * The text after the last piece.
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
   * First and last query, first and last key; null for the whole text.
   */
  window: [Span, Span] | null;
  /**
   * whole: every weight; strongest: the strongest weights of each row, and a pooled map.
   */
  form: "whole" | "strongest";
  pool: "none" | "mean" | "max";
  cell: Span;
  layers: Layer[];
}
export interface Layer {
  layer: number | "mean";
  /**
   * Numbers of the heads; empty where they are combined into one map.
   */
  heads: number[];
  weights: BlobNumber;
  visible: BlobNumber | null;
  edges: BlobNumber | null;
  /**
   * Edges per row; 0 where the map has every weight.
   */
  per_row: number;
  /**
   * The heads combined before pooling; empty where the page combines them itself, or cannot.
   */
  combined: {
    mean?: Layer;
    max?: Layer;
  };
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
  [k: string]: number | string | null;
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
   * The key head of each head.
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
/**
 * How much the tokens of one text count for predictions, by several methods.
 */
export interface Attribution {
  text: number;
  /**
   * What was asked for, such as next.
   */
  explain: string;
  /**
   * Which number of the prediction is explained.
   */
  score: string;
  /**
   * The tokens, source and target, in the order of the shares.
   *
   * @minItems 1
   */
  sides: [AttributedSide, ...AttributedSide[]];
  /**
   * @minItems 1
   */
  methods: [Method, ...Method[]];
  /**
   * @minItems 1
   */
  outputs: [Output, ...Output[]];
  shares: BlobNumber;
}
export interface AttributedSide {
  name: "source" | "target";
  /**
   * Number of a side.
   */
  side: number;
}
export interface Method {
  name: string;
  /**
   * Whether shares can be below 0.
   */
  signed: boolean;
  /**
   * What replaced tokens.
   */
  baseline: string | null;
}
export interface Output {
  name: string;
  score: number;
  probability: number | null;
  /**
   * Positions of the rows of each kind of attention from which it is computed.
   */
  rows: {
    [k: string]: number[];
  };
}
