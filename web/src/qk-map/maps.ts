// The maps of the page: the points of each head, their tokens, and the strongest keys of each query.
import type { Blobs } from "../blobs";
import type { HeadQuality, KindMaps, LayerMaps, QkPage, TokenList } from "./schema";
import type { State } from "./state";

const POINT_CODES = 32767;
const NORM_CODES = 65535;
const WEIGHT_CODES = 255;
/** Largest number of keys whose positions have two bytes. */
const MOST_SHORT_KEYS = 65536;

export type Side = "query" | "key";

/** What the points of all heads of a kind stand for: first the queries, then the keys. */
export interface Table {
  count: number;
  queries: number;
  /** [point] Place of its text in the texts of the kind, and position of its token there. */
  text: Uint32Array;
  position: Uint32Array;
  /** [point] Number of the type of its token. */
  type: Uint32Array;
}

/** The token of a point. */
export interface Token {
  side: Side;
  /** Place of its text in the texts of the kind. */
  text: number;
  position: number;
  label: string;
}

/** A query or a key of a text that attends, or is attended to. */
export interface Attended {
  position: number;
  label: string;
  weight: number;
  /** Its point; null where the token has none on that side. */
  point: number | null;
}

/** Where a head is: its layer, and its place among the heads of the layer. */
interface Place {
  layer: LayerMaps;
  at: number;
}

export class HeadMap {
  private known: Float32Array | null = null;

  /** points: [point, 2] coordinates. */
  constructor(
    readonly points: Float32Array,
    private readonly decode: () => Float32Array,
  ) {}

  /** [point] The norms of the vectors, decoded when they are first asked for. */
  get norms(): Float32Array {
    this.known ??= this.decode();
    return this.known;
  }
}

export class QkMaps {
  private readonly unpacked = new Map<number, Uint8Array>();
  private readonly tables = new Map<string, Table>();
  private readonly pointOf = new Map<string, Map<string, number>>();
  private readonly heads = new Map<string, HeadMap>();

  constructor(
    readonly page: QkPage,
    private readonly blobs: Blobs,
  ) {}

  kind({ kind }: Pick<State, "kind">): KindMaps {
    return this.page.kinds.find((maps) => maps.kind === kind) ?? this.page.kinds[0];
  }

  /** Returns the names of the heads of a kind, such as `3.1`, in order. */
  names(state: Pick<State, "kind">): string[] {
    return this.kind(state).layers.flatMap(({ layer, heads }) => heads.map(({ head }) => `${layer}.${head}`));
  }

  /** Returns the state with parts that this page has. */
  legal(state: State): State {
    const { kind } = this.kind(state);
    const names = this.names({ kind });
    const head = names.includes(state.head) ? state.head : names.length === 1 ? names[0] : "";
    const { count } = this.table({ kind });
    return { ...state, kind, head, point: state.point !== null && state.point < count ? state.point : null };
  }

  private place(state: Pick<State, "kind" | "head">): Place {
    const [layerNumber, headNumber] = state.head.split(".").map(Number);
    const layer = this.kind(state).layers.find((candidate) => candidate.layer === layerNumber) as LayerMaps;
    return { layer, at: layer.heads.findIndex(({ head }) => head === headNumber) };
  }

  quality(state: Pick<State, "kind" | "head">): HeadQuality {
    const { layer, at } = this.place(state);
    return layer.heads[at];
  }

  table(state: Pick<State, "kind">): Table {
    const maps = this.kind(state);
    const existing = this.tables.get(maps.kind);
    if (existing) return existing;
    const count = maps.queries + maps.keys;
    const numbers = new Uint32Array(this.bytes(maps.table).buffer);
    const [text, position, type] = [0, 1, 2].map((column) => numbers.subarray(column * count, (column + 1) * count));
    const table = { count, queries: maps.queries, text, position, type };
    this.tables.set(maps.kind, table);
    return table;
  }

  /** Returns the points and the norms of a head. */
  map(state: Pick<State, "kind" | "head">): HeadMap {
    const name = `${this.kind(state).kind} ${state.head}`;
    const existing = this.heads.get(name);
    if (existing) return existing;
    const { layer, at } = this.place(state);
    const { count } = this.table(state);
    const points = this.points(layer, at, count);
    const norms = () => this.norms(layer, at, count);
    const map = new HeadMap(points, norms);
    this.heads.set(name, map);
    return map;
  }

  private points({ points, heads }: LayerMaps, at: number, count: number): Float32Array {
    const { buffer } = this.bytes(points);
    const [x, y, half] = new Float32Array(buffer, 12 * at, 3);
    const codes = new Int16Array(buffer, 12 * heads.length + 4 * count * at, 2 * count);
    const places = new Float32Array(codes.length);
    for (let axis = 0; axis < codes.length; axis++) {
      places[axis] = (axis % 2 ? y : x) + (codes[axis] / POINT_CODES) * half;
    }
    return places;
  }

  private norms({ norms, heads }: LayerMaps, at: number, count: number): Float32Array {
    const { buffer } = this.bytes(norms);
    const [largest] = new Float32Array(buffer, 4 * at, 1);
    const codes = new Uint16Array(buffer, 4 * heads.length + 2 * count * at, count);
    const values = new Float32Array(count);
    for (let point = 0; point < count; point++) values[point] = (codes[point] / NORM_CODES) * largest;
    return values;
  }

  token(state: Pick<State, "kind">, point: number): Token {
    const { queries, text, position } = this.table(state);
    const side: Side = point < queries ? "query" : "key";
    const list = this.list(state, text[point], side);
    const at = position[point];
    return { side, text: text[point], position: at, label: list.labels[at] };
  }

  /** Returns the tokens of one side of a text. */
  list(state: Pick<State, "kind">, text: number, side: Side): TokenList {
    const { queries, keys } = this.kind(state).texts[text];
    return this.page.sides[side === "query" ? queries : keys];
  }

  /** Returns the strongest keys of a query, or the queries of the map among whose strongest keys a key is. */
  attended(state: Pick<State, "kind" | "head">, point: number): Attended[] {
    return point < this.table(state).queries ? this.strongestKeys(state, point) : this.queriesTo(state, point);
  }

  private strongestKeys(state: Pick<State, "kind" | "head">, query: number): Attended[] {
    const { text } = this.table(state);
    const { labels } = this.list(state, text[query], "key");
    const places = this.places(state);
    return this.edges(state, query).map(({ position, weight }) => {
      const point = places.get(`key ${text[query]} ${position}`) ?? null;
      return { position, label: labels[position], weight, point };
    });
  }

  private queriesTo(state: Pick<State, "kind" | "head">, key: number): Attended[] {
    const { queries, text, position } = this.table(state);
    const { labels } = this.list(state, text[key], "query");
    const to: Attended[] = [];
    for (let query = 0; query < queries; query++) {
      if (text[query] !== text[key]) continue;
      const edge = this.edges(state, query).find((candidate) => candidate.position === position[key]);
      if (edge)
        to.push({ position: position[query], label: labels[position[query]], weight: edge.weight, point: query });
    }
    return to.sort((a, b) => b.weight - a.weight);
  }

  /** Returns the strongest keys of a query with a weight above 0, strongest first. */
  private edges(state: Pick<State, "kind" | "head">, query: number): { position: number; weight: number }[] {
    const { layer, at } = this.place(state);
    const { queries, per_row: most } = this.kind(state);
    const { buffer } = this.bytes(layer.strongest);
    const rows = layer.heads.length * queries;
    const row = at * queries + query;
    const wide = this.longest(state) > MOST_SHORT_KEYS;
    const Positions = wide ? Uint32Array : Uint16Array;
    const [scale] = new Float32Array(buffer, 4 * row, 1);
    const size = Positions.BYTES_PER_ELEMENT;
    const positions = new Positions(buffer, 4 * rows + size * most * row, most);
    const codes = new Uint8Array(buffer, (4 + size * most) * rows + most * row, most);
    return Array.from(codes, (code, rank) => ({
      position: positions[rank],
      weight: (code / WEIGHT_CODES) ** 2 * scale,
    })).filter(({ weight }) => weight > 0);
  }

  private longest(state: Pick<State, "kind">): number {
    return Math.max(...this.kind(state).texts.map(({ keys }) => this.page.sides[keys].labels.length));
  }

  /** Returns the points by side, text and position. */
  private places(state: Pick<State, "kind">): Map<string, number> {
    const { kind } = this.kind(state);
    const existing = this.pointOf.get(kind);
    if (existing) return existing;
    const { count, queries, text, position } = this.table(state);
    const places = new Map<string, number>();
    for (let at = 0; at < count; at++) places.set(`${at < queries ? "query" : "key"} ${text[at]} ${position[at]}`, at);
    this.pointOf.set(kind, places);
    return places;
  }

  private bytes(number: number): { buffer: ArrayBuffer } {
    const existing = this.unpacked.get(number) ?? this.blobs(number);
    this.unpacked.set(number, existing);
    return existing as unknown as { buffer: ArrayBuffer };
  }
}

/** Returns the distance of two points of a map. */
export function distance(points: Float32Array, one: number, other: number): number {
  return Math.hypot(points[2 * one] - points[2 * other], points[2 * one + 1] - points[2 * other + 1]);
}

/** Returns the centre of the points of a map, and half of the larger side of the box around them. */
export function frameOf(points: Float32Array): { centre: [number, number]; half: number } {
  const low = [points[0], points[1]];
  const high = [points[0], points[1]];
  for (let at = 0; at < points.length; at++) {
    const [axis, value] = [at % 2, points[at]];
    if (value < low[axis]) low[axis] = value;
    if (value > high[axis]) high[axis] = value;
  }
  const half = Math.max(high[0] - low[0], high[1] - low[1]) / 2;
  return { centre: [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2], half: half > 0 ? half : 1 };
}
