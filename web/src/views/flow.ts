// Flow view: how information reaches a token at the top from the inputs, layer by layer.
import { select } from "d3-selection";
import { isolated } from "../cells";
import { themed } from "../colour";
import { PAIR_COLUMNS, pairNames } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import { passed, shares, uniform } from "../flow";
import type { Pen } from "../pen";
import { oncePerFrame } from "../turns";
import { focusedOpacity, type Line, lineCanvas, paintLines } from "./lines";
import { missing } from "./missing";
import { lineHeight, textSize, tokenColumn, weight } from "./tokens";

/** Pixels of the tokens on the left, which have numbers, and on the right: a share of the window within limits. */
const LEFT = { share: 0.15, least: 104, most: 190 };
const RIGHT = { share: 0.15, least: 84, most: 190 };
const LEAST_STEP = 4;
const MOST_STEP = 250;
/** Pixels that the number of a layer needs, and those above the tokens. */
const NAME = 20;
const ABOVE = 76;
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
  const plan = planOf(stage, layers.names.length, count);
  const { left: leftWide, right: rightWide, step, line } = plan;
  const [width, height] = [step * layers.names.length, line * count];
  select(stage.host)
    .append("button")
    .attr("type", "button")
    .attr("class", "switch")
    .attr("data-keep", "residual")
    .attr("aria-pressed", String(state.residual))
    .attr("title", "include the residual connection, as half of the output of each layer")
    .text("with residual")
    .on("click", () => store.change({ residual: !state.residual }));
  const box = select(stage.host).append("div").attr("class", "head-view flow-view").node() as HTMLDivElement;
  box.style.gridTemplateColumns = `${leftWide}px ${width}px ${rightWide}px`;
  select(box)
    .append("div")
    .attr("class", "layers")
    .selectAll("span")
    .data(namesOf(layers, step))
    .join("span")
    .style("left", ({ middle }) => `${middle}px`)
    .text(({ name }) => name);
  let pointed: number | null = null;
  const left = tokenColumn(box, { name: "input", label: "inputs", left: true, line }, axis, {
    point: () => {},
    pin: () => {},
  });
  const lane = { left: 0, right: width, line };
  const between = lineCanvas(box, `flow through ${layers.names.length} layers`, lane, height);
  const right = tokenColumn(box, { name: "query", label: "tokens at the top", left: false, line }, axis, {
    point: (at) => {
      pointed = at;
      refresh();
    },
    pin: (at) => store.change({ query: state.query === at ? null : at, pinned: [], direction: "from" }),
  });
  const draw = () => {
    const token = pointed ?? state.query;
    right.mark(token === null ? [] : [token]);
    between.show((pen) => paintFlow(pen, layers, token, plan, count));
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
      width: leftWide + width + rightWide,
      height: height + line,
      paint: (pen) => paintAll(pen, axis.labels, layers, state.query, plan),
    },
    table: () => tableOf(stage, layers),
    end: between.end,
  };
}

/** Where the view is drawn: pixels of the tokens on both sides, of a layer, and of a token. */
interface Plan {
  left: number;
  right: number;
  step: number;
  line: number;
}

function planOf({ width, height }: Stage, layers: number, tokens: number): Plan {
  const [left, right] = [LEFT, RIGHT].map(({ share, least, most }) => Math.max(least, Math.min(most, share * width)));
  const step = Math.max(LEAST_STEP, Math.min(MOST_STEP, (width - left - right) / layers));
  return { left, right, step, line: lineHeight(height - ABOVE, tokens) };
}

/** Returns the numbers of the layers and where they are drawn; where layers are narrow, only every second, third, … */
function namesOf({ names }: Layers, step: number): { name: string; middle: number }[] {
  const every = Math.ceil(NAME / step);
  return names.map((name, at) => ({ name, middle: (at + 0.5) * step })).filter((_, at) => at % every === 0);
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
function paintFlow(pen: Pen, layers: Layers, token: number | null, { step, line }: Plan, count: number): void {
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
    // shares of one token spread over many lines
    const opacity = (weight: number) => (carried ? focusedOpacity(Math.sqrt(weight)) : 0.9 * weight);
    paintLines(pen, lines, { left: at * step, right: (at + 1) * step, line }, [themed("accent")], opacity);
  });
}

function paintAll(pen: Pen, labels: string[], layers: Layers, token: number | null, plan: Plan): void {
  const { left, step, line } = plan;
  const look = { size: textSize(line), fill: themed("ink") };
  const right = left + step * layers.names.length;
  for (const { name, middle } of namesOf(layers, step)) {
    const shown = step >= 4 * NAME ? `layer ${name}` : name;
    pen.text(left + middle, line / 2, shown, { ...look, size: 11, anchor: "middle" });
  }
  pen.group(0, line, () => {
    pen.group(left, 0, () => paintFlow(pen, layers, token, plan, labels.length));
    labels.forEach((label, at) => {
      const y = (at + 0.5) * line;
      pen.text(left - 8, y, label, { ...look, anchor: "end" });
      pen.text(right + 8, y, label, { ...look, bold: at === token });
    });
  });
}

function sentence(labels: string[], token: number, found: Float32Array, layers: Layers): string {
  const baseline = shares(layers.uniform, token, labels.length)[0];
  const best = [...found.keys()].sort((a, b) => found[b] - found[a]).slice(0, 3);
  const named = best.map(
    (at) => `${isolated(labels[at])} ${weight(found[at])} (uniform attention: ${weight(baseline[at])})`,
  );
  return `${isolated(labels[token])} at the top comes from ${named.join(", ")}`;
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
