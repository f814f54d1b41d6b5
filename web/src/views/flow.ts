// Flow view: how information reaches a token at the top, layer by layer, from the inputs.
import { select } from "d3-selection";
import { themed } from "../colour";
import type { Drawing, Stage, Table } from "../drawing";
import { even, passed, shares } from "../flow";
import type { Pen } from "../pen";
import { type Line, lineCanvas, oncePerFrame, paintLines } from "./lines";
import { missing } from "./missing";
import { LINE, tokenColumn, weight } from "./tokens";

const SIDE = 190;
const LEAST_STEP = 34;
const MOST_STEP = 130;
/** Weaker lines are not drawn: shares of one token, or weights of all. */
const FAINT = 0.004;
const FAINT_OF_ALL = 0.06;
/** Past so many tokens a layer's map is too much work for a page. */
const MOST_TOKENS = 1024;

interface Layers {
  names: string[];
  passed: Float64Array[];
  even: Float64Array[];
}

export function flowView(stage: Stage): Drawing {
  const why = unable(stage);
  return why ? missing(stage, why) : drawn(stage);
}

/** Why there is no flow to draw here, empty where there is. */
function unable({ run, state }: Stage): string {
  const maps = run.maps(state);
  if (state.kind === "cross") return "Flow is read in self-attention: choose the encoder or the decoder.";
  if (maps.form !== "whole" || maps.pool !== "none" || maps.window) return "Flow needs the whole map of every layer.";
  if (maps.aggregate_layers !== "none") return "Flow needs every layer; this run kept their mean.";
  const tokens = run.axis(state, "queries").labels.length;
  return tokens > MOST_TOKENS ? `Flow is drawn of at most ${MOST_TOKENS} tokens, this text has ${tokens}.` : "";
}

function drawn(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const axis = run.axis(state, "queries");
  const count = axis.labels.length;
  const layers = layersOf(stage);
  const step = Math.max(LEAST_STEP, Math.min(MOST_STEP, (stage.width - 2 * SIDE) / layers.names.length));
  const [width, height] = [step * layers.names.length, LINE * count];
  select(stage.host)
    .append("button")
    .attr("type", "button")
    .attr("class", "switch")
    .attr("data-keep", "residual")
    .attr("aria-pressed", String(state.residual))
    .attr("title", "half of each layer's output is what came in: count it, as rollout does")
    .text("with residual")
    .on("click", () => store.change({ residual: !state.residual }));
  const names = select(stage.host).append("div").attr("class", "layers").style("padding-inline-start", `${SIDE}px`);
  names
    .selectAll("span")
    .data(layers.names)
    .join("span")
    .style("width", `${step}px`)
    .text((name) => name);
  const box = select(stage.host).append("div").attr("class", "head-view flow-view").node() as HTMLDivElement;
  let pointed: number | null = null;
  const left = tokenColumn(box, { name: "input", label: "inputs", left: true }, axis, {
    point: () => {},
    pin: () => {},
  });
  const between = lineCanvas(box, `flow through ${layers.names.length} layers`, width, height);
  const right = tokenColumn(box, { name: "query", label: "tokens at the top", left: false }, axis, {
    point: (at) => {
      pointed = at;
      refresh();
    },
    pin: (at) => store.change({ query: state.query === at ? null : at, pinned: [], direction: "from" }),
  });
  const draw = () => {
    const token = pointed ?? state.query;
    right.mark(token === null ? [] : [token]);
    between.show((pen) => paintFlow(pen, layers, token, step, count));
    const found = token === null ? null : Float32Array.from(shares(layers.passed, token, count)[0]);
    left.shade(found, themed("accent"), pointed !== null);
    stage.say(token === null || !found ? "choose a token at the top" : sentence(axis.labels, token, found, layers));
  };
  const refresh = oncePerFrame(draw);
  draw();
  return {
    picture: {
      width: width + 2 * SIDE,
      height: height + LINE,
      paint: (pen) => paintAll(pen, axis.labels, layers, state.query, step),
    },
    table: () => tableOf(stage, layers),
    end: between.end,
  };
}

function layersOf({ run, state }: Stage): Layers {
  const { layers } = run.maps(state);
  const means = layers.map((layer) => run.grid({ ...state, sinks: "keep" }, layer.layer, "mean"));
  return {
    names: layers.map((layer) => String(layer.layer)),
    passed: means.map((mean) => passed(mean, state.residual)),
    even: means.map((mean) => passed(even(mean), state.residual)),
  };
}

/** Of one token the shares that each line carries, of all tokens the weights. */
function paintFlow(pen: Pen, layers: Layers, token: number | null, step: number, count: number): void {
  const held = token === null ? null : shares(layers.passed, token, count);
  layers.passed.forEach((layer, at) => {
    const lines: Line[] = [];
    for (let query = 0; query < count; query++) {
      const share = held ? held[at + 1][query] : 1;
      for (let key = 0; key < count && share > 0; key++) {
        const value = share * layer[query * count + key];
        if (value > (held ? FAINT : FAINT_OF_ALL)) lines.push({ query: key, key: query, weight: value, head: 0 });
      }
    }
    lines.sort((a, b) => a.weight - b.weight);
    paintLines(pen, lines, [at * step, (at + 1) * step], [themed("accent")], held !== null);
  });
}

function paintAll(pen: Pen, labels: string[], layers: Layers, token: number | null, step: number): void {
  const look = { size: 13, fill: themed("ink") };
  const right = SIDE + step * layers.names.length;
  layers.names.forEach((name, at) => {
    pen.text(SIDE + (at + 0.5) * step, LINE / 2, `layer ${name}`, { ...look, size: 11, anchor: "middle" });
  });
  pen.group(0, LINE, () => {
    pen.group(SIDE, 0, () => paintFlow(pen, layers, token, step, labels.length));
    labels.forEach((label, at) => {
      const y = (at + 0.5) * LINE;
      pen.text(SIDE - 8, y, label, { ...look, anchor: "end" });
      pen.text(right + 8, y, label, { ...look, bold: at === token });
    });
  });
}

function sentence(labels: string[], token: number, found: Float32Array, layers: Layers): string {
  const plain = shares(layers.even, token, labels.length)[0];
  const best = [...found.keys()].sort((a, b) => found[b] - found[a]).slice(0, 3);
  const named = best.map((at) => `${labels[at]} ${weight(found[at])} (even attention: ${weight(plain[at])})`);
  return `${labels[token]} at the top comes from ${named.join(", ")}`;
}

function tableOf({ run, state }: Stage, layers: Layers): Table {
  const { labels } = run.axis(state, "queries");
  const chosen = state.query === null ? [...labels.keys()] : [state.query];
  const rows = chosen.flatMap((query) => {
    const [found, plain] = [layers.passed, layers.even].map((each) => shares(each, query, labels.length)[0]);
    return labels.map((label, key) => [state.kind, query, key, labels[query], label, found[key], plain[key]]);
  });
  return { columns: ["kind", "query", "key", "query_token", "key_token", "rollout", "rollout_even"], rows };
}
