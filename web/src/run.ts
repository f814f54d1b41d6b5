// The run in the page: its layers, heads and tokens, and the map of each head with the transforms of a state.
import type { Blobs } from "./blobs";
import {
  columnOf,
  combined,
  decoded,
  dequantized,
  type Grid,
  isUndefined,
  kept,
  merged,
  rowOf,
  sinksOf,
  withoutSinks,
} from "./maps";
import type { Attribution, Layer, Maps, Page, Side, Vectors } from "./schema";
import { type HeadName, type LayerName, type State, VIEWS, type ViewName } from "./state";

/** One axis of a map: pieces or words, with or without special tokens. */
export interface Axis {
  labels: string[];
  /** The text as written and the exact vocabulary pieces, as in tables. */
  texts: string[];
  pieces: string[];
  /** The place of each piece on the axis; -1 where it is left out. */
  places: number[];
  segments: string[];
  special: boolean[];
}

interface Edge {
  at: number;
  weight: number;
}

/** Largest number of weights of transformed maps in the cache. */
const MOST_CACHED = 3e7;
const COMBINED = ["mean", "max"] as const;

export class Run {
  private readonly grids = new Map<string, Grid>();
  private readonly masks = new Map<string, Uint8Array>();
  private readonly unpacked = new Map<number, Uint8Array>();

  constructor(
    readonly page: Page,
    private readonly blobs: Blobs,
  ) {}

  get texts(): number[] {
    return [...new Set(this.page.maps.map((maps) => maps.text))];
  }

  kinds(text: number): Maps["kind"][] {
    return this.page.maps.filter((maps) => maps.text === text).map((maps) => maps.kind);
  }

  /** The views that this run has: that of attributions only where they were computed. */
  get views(): ViewName[] {
    return VIEWS.filter((view) => view !== "attribution" || this.page.attribution !== null);
  }

  /** Returns whether all layers between tokens are shown: none of this kind has rows or keys of its own. */
  hasTokenLayersOnly(state: State): boolean {
    const base = state.kind.split("-")[0];
    return this.kinds(state.text).every((kind) => kind === base || !kind.startsWith(`${base}-`));
  }

  maps(state: State): Maps {
    const found = this.page.maps.find((maps) => maps.text === state.text && maps.kind === state.kind);
    if (!found) throw new Error(`no maps of text ${state.text}, kind ${state.kind}`);
    return found;
  }

  layer(state: State): Layer {
    return this.maps(state).layers.find((layer) => layer.layer === state.layer) as Layer;
  }

  /** Whether words can be merged and special tokens dropped: not in pooled maps, nor where the run did so. */
  transformable(state: State): { words: boolean; special: boolean } {
    const maps = this.maps(state);
    const whole = maps.form === "whole" && maps.pool === "none" && !state.kind.includes("-");
    return { words: whole && !maps.words, special: whole && !maps.dropped_special };
  }

  side(state: State, which: "queries" | "keys"): Side {
    return this.page.sides[this.maps(state)[which]];
  }

  axis(state: State, which: "queries" | "keys"): Axis {
    return axisOf(this.side(state, which), state.words, state.special === "drop");
  }

  /** Returns the axis of a side by its number, with the transforms of the state. */
  axisOf(number: number, state: State): Axis {
    return axisOf(this.page.sides[number], state.words, state.special === "drop");
  }

  /** Returns the shares of the tokens of a side by a method for the chosen prediction; NaN where they are not read. */
  shares(state: State, method: number, side: number): Float32Array {
    const { sides, outputs, shares } = this.page.attribution as Attribution;
    const counts = sides.map((part) => this.page.sides[part.side].pieces.length);
    const [all, before] = [counts, counts.slice(0, side)].map((some) => some.reduce((sum, count) => sum + count, 0));
    const first = (method * outputs.length + state.output) * all + before;
    return new Float32Array(this.bytes(shares).buffer as ArrayBuffer, 4 * first, counts[side]);
  }

  /** Returns the places on the axis of queries, with special tokens, of the rows that make the chosen prediction. */
  predicting(state: State): number[] {
    const { outputs } = this.page.attribution as Attribution;
    const { places } = this.axis({ ...state, special: "keep" }, "queries");
    return [...new Set((outputs[state.output].rows[state.kind] ?? []).map((row) => places[row]))];
  }

  /**
   * Returns the mean weights of the rows of a head that make the chosen prediction; null if none does. Special tokens are
   * left out of the keys only: a row of one may predict.
   */
  predictingRow(state: State): Float32Array | null {
    const whole: State = { ...state, special: "keep" };
    const rows = this.predicting(state).map((place) => this.row(whole, state.head, place));
    if (!rows.length) return null;
    const mean = rows[0].map((_, key) => rows.reduce((sum, row) => sum + (row[key] || 0), 0) / rows.length);
    const { special } = this.axis(whole, "keys");
    return state.special === "drop" ? mean.filter((_, key) => !special[key]) : mean;
  }

  /** Returns the map of a head, or of the combined heads of a layer, with the transforms of the state. */
  grid(state: State, layer: LayerName = state.layer, head: HeadName = state.head): Grid {
    const { text, kind, words, special, sinks } = state;
    return this.cached(`${text} ${kind} ${layer} ${head} ${words} ${special} ${sinks}`, () => {
      const map = this.withSinks({ ...state, layer }, head);
      return sinks === "drop" ? withoutSinks(map, sinksOf(map)) : map;
    });
  }

  /** Returns the keys of a head that are sinks. */
  sinks(state: State): number[] {
    return sinksOf(this.grid({ ...state, sinks: "keep" }));
  }

  private withSinks(state: State, head: HeadName): Grid {
    const layer = this.layer(state);
    if (typeof head === "string" && layer.heads.length > 0 && layer.edges === null) {
      const maps = layer.heads.map((number) => this.grid({ ...state, sinks: "keep" }, state.layer, number));
      return combined(maps, head);
    }
    const stored = this.stored(state, head);
    const map = this.decoded(this.maps(state), stored, Math.max(0, stored.heads.indexOf(head as number)));
    return transformed(map, this.side(state, "queries"), this.side(state, "keys"), state);
  }

  /** Returns the layer that has the map of a head: pooled maps were combined over heads before they were pooled. */
  private stored(state: State, head: HeadName): Layer {
    const layer = this.layer(state);
    return (typeof head === "string" && layer.combined[head]) || layer;
  }

  /** Returns how the heads of a layer can be combined. */
  combinations(state: State): ("mean" | "max")[] {
    const { heads, edges, combined: known } = this.layer(state);
    return heads.length < 2 ? [] : COMBINED.filter((how) => edges === null || known[how]);
  }

  /**
   * Returns one row (`from` a query) or one column (`to` a key) of the mean over some heads. Where the page has only the
   * strongest weights, the mean is known for the tokens whose weight it has in all of these heads.
   */
  meanOf(state: State, heads: readonly HeadName[], direction: State["direction"], at: number): Float32Array {
    const line = (head: HeadName) => (direction === "from" ? this.row(state, head, at) : this.column(state, head, at));
    if (heads.length === 1) return line(heads[0]);
    if (this.layer(state).edges === null) {
      const map = combined(
        heads.map((head) => this.grid(state, state.layer, head)),
        "mean",
      );
      return direction === "from" ? rowOf(map, at) : columnOf(map, at);
    }
    const lines = heads.map(line);
    return lines[0].map((_, other) => lines.reduce((sum, weights) => sum + weights[other], 0) / heads.length);
  }

  /** Returns for each row whether it has no weights at all in this head. */
  undefinedRows(state: State, head: HeadName): boolean[] {
    const layer = this.layer(state);
    if (layer.edges === null) {
      const map = this.grid(state, state.layer, head);
      return Array.from({ length: map.rows }, (_, row) => isUndefined(map, row));
    }
    const { scales, first, rows } = this.edgeTable(state, head);
    return Array.from(scales.subarray(first, first + rows), Number.isNaN);
  }

  private decoded(maps: Maps, layer: Layer, at: number): Grid {
    const heads = Math.max(1, layer.heads.length);
    const shape = this.shape(maps);
    const [rows, columns] = shape;
    const { buffer } = this.bytes(layer.weights);
    const scales = new Float32Array(buffer, 0, heads * rows);
    const codes = new Uint8Array(buffer, 4 * heads * rows);
    const size = rows * columns;
    return dequantized(
      codes.subarray(at * size, (at + 1) * size),
      scales.subarray(at * rows, (at + 1) * rows),
      shape,
      this.visible(layer, at, size),
    );
  }

  /** Returns rows and columns of the maps in the page, which may be pooled. */
  shape(maps: Maps): [number, number] {
    const sides = [this.page.sides[maps.queries], this.page.sides[maps.keys]];
    const [rows, columns] = sides.map((side, axis) => Math.ceil(side.pieces.length / maps.cell[axis]));
    return [rows, columns];
  }

  private visible(layer: Layer, at: number, size: number): Uint8Array | null {
    if (layer.visible === null) return null;
    const bits = this.bytes(layer.visible);
    const first = bits.length > Math.ceil(size / 8) ? at * size : 0;
    const name = `${layer.visible} ${first}`;
    let mask = this.masks.get(name);
    if (!mask) {
      mask = new Uint8Array(size);
      for (let cell = 0; cell < size; cell++) {
        const bit = first + cell;
        mask[cell] = (bits[bit >> 3] >> (7 - (bit & 7))) & 1;
      }
      this.masks.set(name, mask);
    }
    return mask;
  }

  /** Returns the weights of one row, one for each key of the axis; NaN where masked or not in the page. */
  row(state: State, head: HeadName, row: number): Float32Array {
    return this.layer(state).edges === null
      ? rowOf(this.grid(state, state.layer, head), row)
      : this.spread(this.edgesOf(state, head, row), this.side(state, "keys"));
  }

  /** Returns the weights of one key, one for each row. */
  column(state: State, head: HeadName, key: number): Float32Array {
    if (this.layer(state).edges === null) return columnOf(this.grid(state, state.layer, head), key);
    return this.spread(this.edgesTo(state, head, key), this.side(state, "queries"));
  }

  private spread(edges: Edge[], side: Side): Float32Array {
    const weights = new Float32Array(side.pieces.length).fill(Number.NaN);
    for (const { at, weight } of edges) weights[at] = weight;
    return weights;
  }

  private edgesOf(state: State, head: HeadName, row: number): Edge[] {
    const { per_row, scales, keys, codes, first } = this.edgeTable(state, head);
    const from = (first + row) * per_row;
    const found: Edge[] = [];
    for (let at = from; at < from + per_row && codes[at] > 0; at++) {
      found.push({ at: keys[at], weight: decoded(codes[at], scales[first + row]) });
    }
    return found;
  }

  private edgesTo(state: State, head: HeadName, key: number): Edge[] {
    const { per_row, scales, keys, codes, first, rows } = this.edgeTable(state, head);
    const found: Edge[] = [];
    for (let at = first * per_row; at < (first + rows) * per_row; at++) {
      if (keys[at] !== key || codes[at] === 0) continue;
      const line = Math.floor(at / per_row);
      found.push({ at: line - first, weight: decoded(codes[at], scales[line]) });
    }
    return found;
  }

  /** Returns the edges of a layer, and the number of the first row of a head in them. */
  private edgeTable(state: State, head: HeadName) {
    const layer = this.stored(state, head);
    const [rows, columns] = [this.side(state, "queries").pieces.length, this.side(state, "keys").pieces.length];
    const lines = Math.max(1, layer.heads.length) * rows;
    const count = lines * layer.per_row;
    const Numbers = columns <= 65536 ? Uint16Array : Uint32Array;
    const buffer = this.bytes(layer.edges as number).buffer as ArrayBuffer;
    const scales = new Float32Array(buffer, 0, lines);
    const keys = new Numbers(buffer, 4 * lines, count);
    const codes = new Uint8Array(buffer, 4 * lines + count * Numbers.BYTES_PER_ELEMENT);
    const first = Math.max(0, layer.heads.indexOf(head as number)) * rows;
    return { per_row: layer.per_row, scales, keys, codes, first, rows };
  }

  vectors(state: State): Vectors | undefined {
    return this.page.vectors.find(
      (part) => part.text === state.text && part.kind === state.kind && part.layer === state.layer,
    );
  }

  bytes(number: number): Uint8Array {
    let part = this.unpacked.get(number);
    if (!part) {
      part = this.blobs(number);
      this.unpacked.set(number, part);
    }
    return part;
  }

  private cached(name: string, make: () => Grid): Grid {
    let map = this.grids.get(name);
    if (map) this.grids.delete(name);
    else map = make();
    this.grids.set(name, map);
    if (this.grids.size * map.weights.length > MOST_CACHED) this.grids.delete(this.grids.keys().next().value as string);
    return map;
  }

  /** Returns the state at the start: the first text and kind, with the layer and head that the page names. */
  start(): State {
    const maps = this.page.maps[0];
    const { layer, head } = this.page.start;
    return {
      view: "head",
      text: maps.text,
      kind: maps.kind,
      layer,
      head: head ?? combinedName(maps),
      heads: null,
      query: null,
      key: null,
      pinned: [],
      direction: "from",
      words: false,
      special: "keep",
      sinks: "keep",
      scale: "auto",
      metric: "",
      residual: true,
      method: "",
      output: 0,
      theme: "auto",
    };
  }

  /** Returns the closest state that this run can show; a layer or head that it lacks becomes the one of the start. */
  legal(state: State): State {
    const text = this.texts.includes(state.text) ? state.text : this.texts[0];
    const kinds = this.kinds(text);
    const kind = kinds.includes(state.kind) ? state.kind : kinds[0];
    let next: State = { ...state, text, kind };
    const { layers } = this.maps(next);
    const named = (name: LayerName) => layers.find((candidate) => candidate.layer === name);
    const { start } = this.page;
    const layer = named(state.layer) ?? named(start.layer) ?? layers[0];
    const combines = this.combinations({ ...next, layer: layer.layer }).some((how) => how === state.head);
    const shows = combines || layer.heads.includes(state.head as number);
    const usual = layer.heads.find((number) => number === start.head) ?? layer.heads[0];
    const head = shows ? state.head : (usual ?? combinedName(this.maps(next)));
    const can = this.transformable(next);
    next = { ...next, layer: layer.layer, head, ...this.legalAttribution(state) };
    next.words = state.words && can.words;
    next.special = can.special && this.hasOrdinary(next) ? state.special : "keep";
    if (state.heads) next.heads = state.heads.filter((number) => layer.heads.includes(number));
    const [rows, columns] = [this.axis(next, "queries").labels.length, this.axis(next, "keys").labels.length];
    next.query = inside(state.query, rows);
    next.key = inside(state.key, columns);
    const side = state.direction === "from" ? rows : columns;
    next.pinned = [...new Set(state.pinned)].filter((at) => at < side).sort((a, b) => a - b);
    return next;
  }

  private legalAttribution(state: State): Pick<State, "view" | "method" | "output"> {
    const { methods, outputs } = this.page.attribution ?? { methods: [], outputs: [] };
    return {
      view: this.views.includes(state.view) ? state.view : "head",
      method: methods.some(({ name }) => name === state.method) ? state.method : "",
      output: state.output < outputs.length ? state.output : 0,
    };
  }

  hasSpecial(state: State): boolean {
    return this.side(state, "queries").special.length + this.side(state, "keys").special.length > 0;
  }

  private hasOrdinary(state: State): boolean {
    return (["queries", "keys"] as const).every((which) => {
      const side = this.side(state, which);
      return side.special.length < side.pieces.length;
    });
  }
}

/** Returns how the heads were combined by a run that has no single heads. */
export function combinedName({ aggregate }: Maps): HeadName {
  return aggregate === "max" ? "max" : "mean";
}

function inside(at: number | null, count: number): number | null {
  return at !== null && at < count ? at : null;
}

function axisOf(side: Side, words: boolean, drop: boolean): Axis {
  const special = side.pieces.map(() => false);
  for (const at of side.special) special[at] = true;
  const groups = words ? side.words : side.pieces.map((_, at) => at);
  const labels = words ? side.word_labels : side.labels;
  const texts = words ? side.word_texts : side.texts;
  const pieces = words ? joined(side.pieces, groups) : side.pieces;
  const firsts = labels.map((_, group) => groups.indexOf(group));
  const left = firsts.map((first, group) => ({ first, group })).filter(({ first }) => !(drop && special[first]));
  const place = new Map(left.map(({ group }, at) => [group, at]));
  return {
    labels: left.map(({ group }) => labels[group]),
    texts: left.map(({ group }) => texts[group]),
    pieces: left.map(({ group }) => pieces[group]),
    places: groups.map((group) => place.get(group) ?? -1),
    segments: left.map(({ first }) => side.segments[first]),
    special: left.map(({ first }) => special[first]),
  };
}

/** Returns the pieces of each word, with spaces between them. */
function joined(pieces: readonly string[], groups: readonly number[]): string[] {
  const words: string[][] = [];
  pieces.forEach((piece, at) => {
    words[groups[at]] = [...(words[groups[at]] ?? []), piece];
  });
  return words.map((parts) => parts.join(" "));
}

function transformed(map: Grid, queries: Side, keys: Side, state: State): Grid {
  let made = map;
  if (state.words) made = merged(made, queries.words, keys.words);
  if (state.special === "drop") made = kept(made, ordinary(queries, state.words), ordinary(keys, state.words));
  return made;
}

/** Returns the positions of the pieces or words that are not special. */
function ordinary(side: Side, words: boolean): number[] {
  const special = new Set(words ? side.special.map((at) => side.words[at]) : side.special);
  return [...(words ? side.word_labels : side.labels).keys()].filter((at) => !special.has(at));
}
