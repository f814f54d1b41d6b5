// Neuron view: the query vector and key vector of a pair of tokens, their product, the score and the weight.
import { interpolatePuOr } from "d3-scale-chromatic";
import { select } from "d3-selection";
import { isolated } from "../cells";
import { themed } from "../colour";
import type { Drawing, Stage, Table } from "../drawing";
import { type Pair, pairOf } from "../neurons";
import { type Pen, sized } from "../pen";
import type { Vectors } from "../schema";
import { sideNames } from "../sides";
import type { State } from "../state";
import { missing } from "./missing";
import { weight } from "./tokens";

/** Pixels of a window with the vectors at the left of the scores, and their share of it. */
const WIDE = 900;
const SHARE = 0.56;
const NAME = 90;
const STRIP = 34;
const TOP = 22;

export function neuronView(stage: Stage): Drawing {
  const { run, state } = stage;
  const vectors = run.vectors(state);
  const shown = vectors && typeof state.head === "number" && vectors.heads.includes(state.head);
  return shown ? pairView(stage, vectors) : missing(stage, why(stage, vectors), run.page.neurons);
}

/** Returns why there is nothing to show. */
function why({ run, state }: Stage, vectors: Vectors | undefined): string {
  if (vectors) return "Vectors belong to single heads: choose one.";
  if (!run.page.vectors.length) return "This run kept no query and key vectors.";
  return `Vectors of layer ${state.layer} could not be captured: the model computes its attention itself.`;
}

/** Returns the state with pieces and special tokens, as vectors are of those, and its pair of tokens. */
function ofPieces({ run, state }: Stage): { plain: State; query: number; key: number } {
  const plain: State = { ...state, words: false, special: "keep", sinks: "keep" };
  const piece = (which: "queries" | "keys", at: number | null) =>
    at === null ? -1 : run.axis(state, which).places.indexOf(at);
  const query = Math.max(0, piece("queries", state.query));
  const row = run.row(plain, state.head, query);
  let key = piece("keys", state.key);
  if (key < 0) key = row.reduce((best, value, at) => (value > (row[best] || 0) ? at : best), 0);
  return { plain, query, key };
}

function pairView(stage: Stage, vectors: Vectors): Drawing {
  const { run, store, state } = stage;
  const head = state.head as number;
  const { plain, query, key } = ofPieces(stage);
  const row = run.row(plain, head, query);
  const [queries, keys] = [run.side(state, "queries").labels, run.side(state, "keys").labels];
  const pair = pairOf(run, vectors, head, [query, key], row[key]);
  const box = select(stage.host).append("div").attr("class", "neuron-view");
  const pick = (name: string, labels: string[], at: number, which: "queries" | "keys", part: "query" | "key") => {
    const label = box.append("label").attr("class", "choice");
    label.append("span").text(name);
    const menu = label.append("select").attr("data-keep", `neuron-${part}`).attr("data-pick", part);
    menu
      .selectAll("option")
      .data(labels)
      .join("option")
      .attr("value", (_, token) => token)
      .property("selected", (_, token) => token === at)
      .text((label, token) => `${token} ${label}`);
    menu.on("change", (event: Event) => {
      const place = run.axis(state, which).places[Number((event.target as HTMLSelectElement).value)];
      if (place >= 0) store.change({ [part]: place, pinned: [] });
    });
  };
  const sides = sideNames(state.kind);
  pick(`${sides.queries} token`, queries, query, "queries", "query");
  pick(`${sides.keys} token`, keys, key, "keys", "key");

  const width = stage.width < WIDE ? stage.width : SHARE * stage.width;
  const height = TOP + 3 * STRIP + 6;
  const columns = box.append("div").attr("class", "columns");
  const how = columns.append("div");
  const canvas = how
    .append("canvas")
    .attr("role", "img")
    .attr("aria-label", `query, key and product of ${queries[query]} and ${keys[key]}, ${vectors.dim} dimensions`);
  const paint = (pen: Pen) => paintStrips(pen, pair, width);
  paint(sized(canvas.node() as HTMLCanvasElement, width, height, devicePixelRatio)());
  steps(how.append("dl").attr("class", "steps").node() as HTMLDListElement, pair, vectors);
  scoreList(stage, columns.append("div").attr("class", "scores").node() as HTMLDivElement, {
    vectors,
    query,
    key,
    row,
  });
  stage.announce(
    `${isolated(queries[query])} attends to ${isolated(keys[key])}: score ${pair.score.toPrecision(4)}, weight ${weight(pair.weight)}`,
  );
  return { picture: { width, height, paint }, table: () => tableOf(pair) };
}

/** Draws each dimension as a cell: violet below zero, orange above. */
function paintStrips(pen: Pen, pair: Pair, width: number): void {
  const strips: [string, Float32Array][] = [
    ["query", pair.query],
    ["key", pair.key],
    ["product", pair.product],
  ];
  const wide = (width - NAME) / pair.query.length;
  const every = Math.max(8, Math.ceil(pair.query.length / 64) * 8);
  const small = { size: 10, fill: themed("soft") };
  for (let at = 0; at < pair.query.length * 0.7; at += every) pen.text(NAME + at * wide, TOP / 2, String(at), small);
  pen.text(width, TOP / 2, "violet below zero, orange above", { ...small, anchor: "end" });
  strips.forEach(([name, values], line) => {
    const y = TOP + line * STRIP;
    const top = Math.max(...values.map(Math.abs)) || 1;
    pen.text(0, y + STRIP / 2 - 8, name, { size: 12, fill: themed("ink"), bold: true });
    pen.text(0, y + STRIP / 2 + 7, `±${top.toPrecision(3)}`, small);
    values.forEach((value, at) => {
      pen.rect(NAME + at * wide, y, Math.max(0.5, wide - 1), STRIP - 6, interpolatePuOr(0.5 + value / top / 2));
    });
  });
}

/** Lists the steps from the dot product to the weight. */
function steps(host: HTMLDListElement, pair: Pair, vectors: Vectors): void {
  const lines: [string, string, string][] = [
    ["dot", `sum of the product (scaled by ${vectors.scale.toPrecision(4)})`, pair.dot.toPrecision(5)],
  ];
  if (vectors.softcap !== null) lines.push(["softcap", "soft cap of the model", String(vectors.softcap)]);
  if (vectors.bias)
    lines.push(["bias", "added by position, from the weight (≈)", (pair.score - pair.dot).toPrecision(3)]);
  lines.push(
    ["score", "score before softmax", pair.score.toPrecision(5)],
    ["normalizer", "log of the sum over all keys", pair.normalizer.toPrecision(5)],
    ["weight", "weight: exp(score - log of the sum)", pair.weight.toPrecision(4)],
  );
  const line = select(host).selectAll("div").data(lines).join("div");
  line.append("dt").text(([, name]) => name);
  line
    .append("dd")
    .attr("data-step", ([step]) => step)
    .text(([, , value]) => value);
}

interface Listed {
  vectors: Vectors;
  query: number;
  key: number;
  row: Float32Array;
}

/** Lists all keys of the query: a bar for each score, and the weight. */
function scoreList({ run, store, state }: Stage, host: HTMLElement, listed: Listed): void {
  const { vectors, query, key, row } = listed;
  const axis = run.axis(state, "keys");
  const visible = [...row.keys()].filter((at) => !Number.isNaN(row[at]));
  const pairs = visible.map((at) => pairOf(run, vectors, state.head as number, [query, at], row[at]));
  const scores = pairs.map((pair) => pair.score).filter(Number.isFinite);
  const [least, most] = [Math.min(...scores), Math.max(...scores)];
  const line = select(host)
    .selectAll("button")
    .data(visible)
    .join("button")
    .attr("type", "button")
    .attr("class", "score")
    .attr("data-keep", (at) => `score-${at}`)
    .attr("data-key", (at) => at)
    .attr("aria-pressed", (at) => String(at === key))
    .on("click", (_, at) => {
      if (axis.places[at] >= 0) store.change({ key: axis.places[at], pinned: [] });
    });
  line.append("bdi").text((at) => run.side(state, "keys").labels[at]);
  line
    .append("span")
    .attr("class", "bar")
    .style("--share", (_, at) => String((pairs[at].score - least) / (most - least || 1)));
  line.append("span").text((_, at) => (Number.isFinite(pairs[at].score) ? pairs[at].score.toFixed(2) : "−∞"));
  line
    .append("span")
    .attr("class", "weight")
    .text((_, at) => weight(pairs[at].weight));
}

function tableOf(pair: Pair): Table {
  const rows = [...pair.query.keys()].map((at) => [at, pair.query[at], pair.key[at], pair.product[at]]);
  return { columns: ["dimension", "query", "key", "product"], rows };
}
