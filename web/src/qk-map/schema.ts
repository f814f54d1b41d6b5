// Written by `npm run build` from qk-map.schema.json; do not edit.

/**
 * Number of a binary part.
 */
export type BlobNumber = number;

/**
 * The content of the page of `attncli qk-map`. Blobs are numbers of its binary parts; docs/page.md describes their layout.
 */
export interface QkPage {
  schema: "attncli.qk-map-page/1";
  title: string;
  /**
   * The model and its run in a few words each.
   */
  about: string[];
  /**
   * Notes for the reader.
   */
  notes: string[];
  /**
   * How the maps are made, such as `t-SNE`.
   */
  method: string;
  /**
   * What colours show when the page opens.
   */
  color: "side" | "position" | "type" | "norm" | "text";
  /**
   * Names of the types of tokens.
   */
  token_types: string[];
  sides: TokenList[];
  /**
   * @minItems 1
   */
  kinds: [KindMaps, ...KindMaps[]];
}
/**
 * The tokens of one text; arrays have one entry per piece.
 */
export interface TokenList {
  labels: string[];
  /**
   * The number of the cell of each piece in the text; pieces that split a character share a cell.
   */
  cells: number[];
  /**
   * The text between the previous piece and this one.
   */
  before: string[];
  /**
   * The text that each piece covers; empty for special tokens.
   */
  surface: string[];
  /**
   * The text after the last piece.
   */
  after: string;
}
/**
 * The maps of all heads of one kind of attention, which have the same points: first the queries, then the keys.
 */
export interface KindMaps {
  kind: string;
  /**
   * @minItems 1
   */
  texts: [MapText, ...MapText[]];
  /**
   * Number of queries in each map.
   */
  queries: number;
  /**
   * Number of keys in each map.
   */
  keys: number;
  table: BlobNumber;
  /**
   * Number of the strongest keys of each query.
   */
  per_row: number;
  /**
   * @minItems 1
   */
  layers: [LayerMaps, ...LayerMaps[]];
}
/**
 * A text whose tokens are in the maps; queries and keys are numbers of sides.
 */
export interface MapText {
  index: number;
  name: string;
  queries: number;
  keys: number;
}
export interface LayerMaps {
  layer: number;
  /**
   * @minItems 1
   */
  heads: [HeadQuality, ...HeadQuality[]];
  points: BlobNumber;
  norms: BlobNumber;
  strongest: BlobNumber;
}
/**
 * How true the map of a head is; null where undefined.
 */
export interface HeadQuality {
  head: number;
  /**
   * Whether near means attended, by the verdict.
   */
  true: boolean;
  /**
   * How true the map is, in words.
   */
  verdict: string;
  numbers: {
    name: string;
    /**
     * In the map.
     */
    map: number | null;
    /**
     * In the full space: the most that a map can reach.
     */
    full: number | null;
    /**
     * In a map of random positions.
     */
    chance: number | null;
  }[];
}
