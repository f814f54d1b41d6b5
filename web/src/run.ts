// The run behind the page: which layers, heads and tokens there are, and the map of each head as it is to be read.
import type { Blobs } from "./blobs";
import {
  columnOf,
  decoded,
  dequantized,
  folded,
  type Grid,
  grid,
  kept,
  merged,
  rowOf,
  sinksOf,
  withoutSinks,
} from "./maps";
import type { Layer, Maps, Page, Side, Vectors } from "./schema";
import { type HeadName, KINDS, type LayerName, type State } from "./state";

/** One axis as it is shown: pieces or words, with or without special tokens. */
export interface Axis {
  labels: string[];
  /** For each piece of the text its place on the axis, -1 where it is left out. */
  places: number[];
  segments: string[];
  special: boolean[];
}

interface Edge {
  at: number;
  weight: number;
}

/** So many weights of maps that were read are kept at hand. */
const REMEMBERED = 3e7;

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
    const there = this.page.maps.filter((maps) => maps.text === text).map((maps) => maps.kind);
    return KINDS.filter((kind) => there.includes(kind));
  }

  maps(state: State): Maps {
    const found = this.page.maps.find((maps) => maps.text === state.text && maps.kind === state.kind);
    if (!found) throw new Error(`no maps of text ${state.text}, kind ${state.kind}`);
    return found;
  }

  layer(state: State): Layer {
    return this.maps(state).layers.find((layer) => layer.layer === state.layer) as Layer;
  }

  /** Whether words and special tokens can be told apart here: not in pooled maps, nor where it was done before. */
  readable(state: State): { words: boolean; special: boolean } {
    const maps = this.maps(state);
    const whole = maps.form === "whole" && maps.pool === "none";
    return { words: whole && !maps.words, special: whole && !maps.dropped_special };
  }

  side(state: State, which: "queries" | "keys"): Side {
    return this.page.sides[this.maps(state)[which]];
  }

  axis(state: State, which: "queries" | "keys"): Axis {
    return axisOf(this.side(state, which), state.words, state.special === "drop");
  }

  /** The map of a head, or of all of a layer folded, as the state reads it. */
  grid(state: State, layer: LayerName = state.layer, head: HeadName = state.head): Grid {
    const { text, kind, words, special, sinks } = state;
    return this.remembered(`${text} ${kind} ${layer} ${head} ${words} ${special} ${sinks}`, () => {
      const whole = this.plain({ ...state, layer }, head);
      return sinks === "drop" ? withoutSinks(whole, sinksOf(whole)) : whole;
    });
  }

  /** The keys of a head that count as sinks. */
  sinks(state: State): number[] {
    return sinksOf(this.grid({ ...state, sinks: "keep" }));
  }

  private plain(state: State, head: HeadName): Grid {
    const layer = this.layer(state);
    if (typeof head === "string" && layer.heads.length > 0) {
      const each = layer.heads.map((one) => this.grid({ ...state, sinks: "keep" }, state.layer, one));
      return folded(each, head);
    }
    const whole = this.decoded(this.maps(state), layer, Math.max(0, layer.heads.indexOf(head as number)));
    return read(whole, this.side(state, "queries"), this.side(state, "keys"), state);
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

  /** Rows and columns of the maps as they travel. */
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
    let there = this.masks.get(name);
    if (!there) {
      there = new Uint8Array(size);
      for (let cell = 0; cell < size; cell++) {
        const bit = first + cell;
        there[cell] = (bits[bit >> 3] >> (7 - (bit & 7))) & 1;
      }
      this.masks.set(name, there);
    }
    return there;
  }

  /** The weights of one row, a number for each key of the axis; NaN where not visible or not kept. */
  row(state: State, head: HeadName, row: number): Float32Array {
    return this.layer(state).edges === null
      ? rowOf(this.grid(state, state.layer, head), row)
      : this.sparse(state, head, (one) => this.edgesOf(state, one, row), "keys");
  }

  /** The weights on one key, a number for each row. */
  column(state: State, head: HeadName, key: number): Float32Array {
    if (this.layer(state).edges === null) return columnOf(this.grid(state, state.layer, head), key);
    const rows = this.side(state, "queries").pieces.length;
    return this.sparse(state, head, (one) => this.edgesTo(state, one, key, rows), "queries");
  }

  private sparse(state: State, head: HeadName, edges: (head: number) => Edge[], along: "queries" | "keys") {
    const count = this.side(state, along).pieces.length;
    const { heads } = this.layer(state);
    const each = (typeof head === "number" ? [head] : heads.length ? heads : [0]).map((one) => {
      const made = grid(1, count);
      for (const { at, weight } of edges(one)) made.weights[at] = weight;
      return made;
    });
    return each.length === 1 ? each[0].weights : folded(each, head === "max" ? "max" : "mean").weights;
  }

  private edgesOf(state: State, head: number, row: number): Edge[] {
    const { per_row } = this.layer(state);
    const { scales, keys, codes, first } = this.edgeTable(state, head);
    const from = (first + row) * per_row;
    const found: Edge[] = [];
    for (let at = from; at < from + per_row && codes[at] > 0; at++) {
      found.push({ at: keys[at], weight: decoded(codes[at], scales[first + row]) });
    }
    return found;
  }

  private edgesTo(state: State, head: number, key: number, rows: number): Edge[] {
    const { per_row } = this.layer(state);
    const { scales, keys, codes, first } = this.edgeTable(state, head);
    const found: Edge[] = [];
    for (let at = first * per_row; at < (first + rows) * per_row; at++) {
      if (keys[at] !== key || codes[at] === 0) continue;
      const line = Math.floor(at / per_row);
      found.push({ at: line - first, weight: decoded(codes[at], scales[line]) });
    }
    return found;
  }

  /** The edges of a layer, and the number of the first row of a head among them. */
  private edgeTable(state: State, head: number) {
    const layer = this.layer(state);
    const [rows, columns] = [this.side(state, "queries").pieces.length, this.side(state, "keys").pieces.length];
    const lines = Math.max(1, layer.heads.length) * rows;
    const count = lines * layer.per_row;
    const Numbers = columns <= 65536 ? Uint16Array : Uint32Array;
    const buffer = this.bytes(layer.edges as number).buffer as ArrayBuffer;
    const scales = new Float32Array(buffer, 0, lines);
    const keys = new Numbers(buffer, 4 * lines, count);
    const codes = new Uint8Array(buffer, 4 * lines + count * Numbers.BYTES_PER_ELEMENT);
    return { scales, keys, codes, first: Math.max(0, layer.heads.indexOf(head)) * rows };
  }

  vectors(state: State): Vectors | undefined {
    return this.page.vectors.find(
      (one) => one.text === state.text && one.kind === state.kind && one.layer === state.layer,
    );
  }

  bytes(number: number): Uint8Array {
    let there = this.unpacked.get(number);
    if (!there) {
      there = this.blobs(number);
      this.unpacked.set(number, there);
    }
    return there;
  }

  private remembered(name: string, make: () => Grid): Grid {
    let there = this.grids.get(name);
    if (there) this.grids.delete(name);
    else there = make();
    this.grids.set(name, there);
    if (this.grids.size * there.weights.length > REMEMBERED)
      this.grids.delete(this.grids.keys().next().value as string);
    return there;
  }

  /** The state at the start: the first text and kind, its first layer and head. */
  start(): State {
    const maps = this.page.maps[0];
    const layer = maps.layers[0];
    return {
      view: "head",
      text: maps.text,
      kind: maps.kind,
      layer: layer.layer,
      head: layer.heads[0] ?? "mean",
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
      theme: "auto",
    };
  }

  /** The nearest state that this run can show. */
  legal(state: State): State {
    const text = this.texts.includes(state.text) ? state.text : this.texts[0];
    const kinds = this.kinds(text);
    const kind = kinds.includes(state.kind) ? state.kind : kinds[0];
    let next: State = { ...state, text, kind };
    const { layers } = this.maps(next);
    const layer = layers.find((one) => one.layer === state.layer) ?? layers[0];
    const folds = typeof state.head === "string" && layer.heads.length > 0;
    const head = folds || layer.heads.includes(state.head as number) ? state.head : (layer.heads[0] ?? "mean");
    const can = this.readable(next);
    next = { ...next, layer: layer.layer, head };
    next.words = state.words && can.words;
    next.special = can.special && this.hasOrdinary(next) ? state.special : "keep";
    if (state.heads) next.heads = state.heads.filter((one) => layer.heads.includes(one));
    const [rows, columns] = [this.axis(next, "queries").labels.length, this.axis(next, "keys").labels.length];
    next.query = inside(state.query, rows);
    next.key = inside(state.key, columns);
    const side = state.direction === "from" ? rows : columns;
    next.pinned = [...new Set(state.pinned)].filter((at) => at < side).sort((a, b) => a - b);
    return next;
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

function inside(at: number | null, count: number): number | null {
  return at !== null && at < count ? at : null;
}

function axisOf(side: Side, words: boolean, drop: boolean): Axis {
  const special = side.pieces.map(() => false);
  for (const at of side.special) special[at] = true;
  const groups = words ? side.words : side.pieces.map((_, at) => at);
  const labels = words ? side.word_labels : side.labels;
  const firsts = labels.map((_, group) => groups.indexOf(group));
  const left = firsts.map((first, group) => ({ first, group })).filter(({ first }) => !(drop && special[first]));
  const place = new Map(left.map(({ group }, at) => [group, at]));
  return {
    labels: left.map(({ group }) => labels[group]),
    places: groups.map((group) => place.get(group) ?? -1),
    segments: left.map(({ first }) => side.segments[first]),
    special: left.map(({ first }) => special[first]),
  };
}

function read(map: Grid, queries: Side, keys: Side, state: State): Grid {
  let made = map;
  if (state.words) made = merged(made, queries.words, keys.words);
  if (state.special === "drop") made = kept(made, ordinary(queries, state.words), ordinary(keys, state.words));
  return made;
}

/** Places of the pieces or words that are not special. */
function ordinary(side: Side, words: boolean): number[] {
  const gone = new Set(words ? side.special.map((at) => side.words[at]) : side.special);
  return [...(words ? side.word_labels : side.labels).keys()].filter((at) => !gone.has(at));
}
