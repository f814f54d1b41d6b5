// Flow view: how information reaches a token at the top from the inputs, layer by layer.
import { select } from "d3-selection";
import { themed } from "../colour";
import { PAIR_COLUMNS, pairNames } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import { passed, shares, uniform } from "../flow";
import type { Pen } from "../pen";
import { type Line, lineCanvas, oncePerFrame, paintLines } from "./lines";
import { missing } from "./missing";
import { LINE, tokenColumn, weight } from "./tokens";

const SIDE = 190;
const LEAST_STEP = 34;
const MOST_STEP = 130;
/** Smallest share of a drawn line of one token, and smallest weight of all tokens. */
const FAINT = 0.004;
const FAINT_OF_ALL = 0.06;
/** Largest number of tokens that a page can draw. */
const MOST_TOKENS = 1024;

interface Layers {
  names: string[];
  passed: Float64Array[];
  uniform: Float64Array[];
}

export function flowView(stage: Stage): Drawing {
  const why = unable(stage);
  return why ? missing(stage, why) : drawn(stage);
}

/** Returns why there is no flow to draw; empty where there is. */
function unable({ run, state }: Stage): string {
  const maps = run.maps(state);
  if (state.kind === "cross") return "Flow needs self-attention: choose the encoder or the decoder.";
  if (!run.hasTokenLayersOnly(state)) return "Flow needs tokens in every layer; some have rows or keys of their own.";
  if (maps.form !== "whole" || maps.pool !== "none" || maps.window) return "Flow needs every weight of every layer.";
  if (maps.aggregate_layers !== "none") return "Flow needs every layer; this run kept their mean.";
  const tokens = run.axis(state, "queries").labels.length;
  return tokens > MOST_TOKENS ? `Flow is drawn for at most ${MOST_TOKENS} tokens, this text has ${tokens}.` : "";
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
    .attr("title", "include the residual connection, as half of the output of each layer")
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
    const inputs = token === null ? null : Float32Array.from(shares(layers.passed, token, count)[0]);
    left.shade(inputs, themed("accent"), pointed !== null);
    stage.announce(
      token === null || !inputs ? "choose a token at the top" : sentence(axis.labels, token, inputs, layers),
    );
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
    uniform: means.map((mean) => passed(uniform(mean), state.residual)),
  };
}

/** Draws lines: the shares of one token, or the weights of all tokens. */
function paintFlow(pen: Pen, layers: Layers, token: number | null, step: number, count: number): void {
  const carried = token === null ? null : shares(layers.passed, token, count);
  layers.passed.forEach((layer, at) => {
    const lines: Line[] = [];
    for (let query = 0; query < count; query++) {
      const share = carried ? carried[at + 1][query] : 1;
      for (let key = 0; key < count && share > 0; key++) {
        const value = share * layer[query * count + key];
        if (value > (carried ? FAINT : FAINT_OF_ALL)) lines.push({ query: key, key: query, weight: value, head: 0 });
      }
    }
    lines.sort((a, b) => a.weight - b.weight);
    paintLines(pen, lines, [at * step, (at + 1) * step], [themed("accent")], carried !== null);
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
  const baseline = shares(layers.uniform, token, labels.length)[0];
  const best = [...found.keys()].sort((a, b) => found[b] - found[a]).slice(0, 3);
  const named = best.map((at) => `${labels[at]} ${weight(found[at])} (uniform attention: ${weight(baseline[at])})`);
  return `${labels[token]} at the top comes from ${named.join(", ")}`;
}

function tableOf({ run, state }: Stage, layers: Layers): Table {
  const { labels } = run.axis(state, "queries");
  const chosen = state.query === null ? [...labels.keys()] : [state.query];
  const names = pairNames(run, state);
  const rows = chosen.flatMap((query) => {
    const [rollout, baseline] = [layers.passed, layers.uniform].map((steps) => shares(steps, query, labels.length)[0]);
    return labels.map((_, key) => [state.kind, ...names(query, key), rollout[key], baseline[key]]);
  });
  return { columns: ["kind", ...PAIR_COLUMNS, "rollout", "uniform"], rows };
}
