// Text view: the text itself, shaded by the attention from, or to, the tokens in focus.
import { select } from "d3-selection";
import { themed } from "../colour";
import type { Drawing, Stage, Table } from "../drawing";
import { focusOf, toggled, turned } from "../focus";
import { added, largest, total } from "../maps";
import { FONT, type Pen } from "../pen";
import type { Axis } from "../run";
import type { Side } from "../schema";
import { weight } from "./tokens";

const WIDTH = 720;
const LINE = 28;
const SIZE = 15;

type Which = "queries" | "keys";

/** The shading of a text: a weight for each place of an axis, and a description. */
interface Shade {
  which: Which;
  weights: Float32Array;
  top: number;
  description: string;
}

export function textView(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const shade = shadeOf(stage);
  const box = select(stage.host).append("div").attr("class", "text-view").node() as HTMLDivElement;
  const turn = select(box)
    .append("button")
    .attr("type", "button")
    .attr("class", "plain")
    .attr("data-keep", "direction");
  turn
    .text(state.direction === "from" ? "attention from the chosen tokens" : "attention to the chosen tokens")
    .attr("title", "the other direction (d)")
    .on("click", () => store.change(turned(state)));
  for (const which of shown(stage)) {
    const axis = run.axis(state, which);
    const part = select(box).append("section").attr("aria-label", heading(stage, which));
    if (shown(stage).length > 1) part.append("h2").text(heading(stage, which));
    const text = part.append("p").attr("class", "text").attr("dir", "auto");
    drawText(text.node() as HTMLParagraphElement, stage, which, axis, shade);
  }
  legend(box, shade);
  stage.announce(shade.description);
  return { picture: pictureOf(stage, shade), table: () => tableOf(stage, shade) };
}

/** Returns the sides to show: one where queries and keys are the same text, else both. */
function shown({ run, state }: Stage): Which[] {
  const maps = run.maps(state);
  return maps.queries === maps.keys ? ["keys"] : ["queries", "keys"];
}

function heading(stage: Stage, which: Which): string {
  if (shown(stage).length === 1) return "text";
  return which === "queries" ? "query text" : "key text";
}

function focusSide({ state }: Stage): Which {
  return state.direction === "from" ? "queries" : "keys";
}

function shadeOf(stage: Stage): Shade {
  const { run, state } = stage;
  const fromQuery = state.direction === "from";
  const focus = focusOf(state);
  const labels = run.axis(state, focusSide(stage)).labels;
  const which: Which = fromQuery ? "keys" : "queries";
  const line = (at: number) => (fromQuery ? run.row(state, state.head, at) : run.column(state, state.head, at));
  const chosen = focus.length ? focus : [...labels.keys()];
  const sums = added(chosen.map(line));
  const weights = focus.length ? sums : sums.map((sum) => sum / labels.length);
  const names = focus.map((at) => labels[at]).join(" + ");
  const tokens = focus.length ? names : "all tokens, mean (click tokens to choose)";
  const description = `attention ${fromQuery ? "from" : "to"} ${tokens}: ${weight(total(weights))} in all`;
  return { which, weights, top: largest(weights), description };
}

function drawText(host: HTMLElement, stage: Stage, which: Which, axis: Axis, shade: Shade): void {
  const { run, store, state } = stage;
  const side = run.side(state, which);
  const clickable = shown(stage).length === 1 || which === focusSide(stage);
  const focus = clickable ? new Set(focusOf(state)) : new Set<number>();
  const shaded = shown(stage).length === 1 || which === shade.which;
  const text = select(host);
  side.pieces.forEach((_, piece) => {
    const at = axis.places[piece];
    text.append("span").text(side.before[piece]);
    if (at < 0) return;
    const value = shaded ? shade.weights[at] : Number.NaN;
    const tooltip = Number.isNaN(value) ? axis.labels[at] : `${axis.labels[at]}: ${weight(value)}`;
    const mark = text
      .append(clickable ? "button" : "span")
      .attr("class", `piece${side.surface[piece] ? "" : " chip"}`)
      .attr("title", tooltip)
      .attr("data-at", at)
      .style("--share", String(Number.isNaN(value) || shade.top === 0 ? 0 : value / shade.top))
      .text(side.surface[piece] || side.labels[piece]);
    if (!clickable) return;
    mark
      .attr("type", "button")
      .attr("aria-label", tooltip)
      .attr("data-keep", `piece-${piece}`)
      .attr("aria-pressed", String(focus.has(at)))
      .on("click", () => store.change(toggled(state, state.direction, at)));
  });
  text.append("span").text(side.after);
}

function legend(host: HTMLElement, shade: Shade): void {
  const box = select(host).append("p").attr("class", "legend");
  box.append("span").text("0");
  box.append("span").attr("class", "ramp").attr("aria-hidden", "true");
  box.append("span").attr("data-top", "").text(weight(shade.top));
}

/** Returns the place of each piece when the text is set in lines of `WIDTH` pixels. */
function setInLines(
  side: Side,
  axis: Axis,
): { placed: { piece: number; x: number; y: number; wide: number }[]; lines: number } {
  const context = document.createElement("canvas").getContext("2d") as CanvasRenderingContext2D;
  context.font = `${SIZE}px ${FONT}`;
  let [x, line] = [0, 0];
  const placed = side.pieces.flatMap((_, piece) => {
    if (axis.places[piece] < 0) return [];
    if (side.before[piece].includes("\n")) [x, line] = [0, line + 1];
    else x += context.measureText(side.before[piece]).width;
    const wide = context.measureText(side.surface[piece] || side.labels[piece]).width;
    if (x > 0 && x + wide > WIDTH) [x, line] = [0, line + 1];
    const at = { piece, x, y: line * LINE, wide };
    x += wide + (side.surface[piece] ? 0 : 4);
    return [at];
  });
  return { placed, lines: line + 1 };
}

function pictureOf(stage: Stage, shade: Shade): Drawing["picture"] {
  const { run, state } = stage;
  const parts = shown(stage).map((which) => {
    const [side, axis] = [run.side(state, which), run.axis(state, which)];
    return { which, side, axis, ...setInLines(side, axis) };
  });
  const height = parts.reduce((sum, part) => sum + (part.lines + 2) * LINE, 0);
  const paint = (pen: Pen) => {
    pen.text(0, LINE / 2, shade.description, { size: 12, fill: themed("soft") });
    let top = 1.5 * LINE;
    for (const part of parts) {
      const focus = new Set(parts.length === 1 || part.which === focusSide(stage) ? focusOf(state) : []);
      for (const { piece, x, y, wide } of part.placed) {
        const at = part.axis.places[piece];
        const value = parts.length === 1 || part.which === shade.which ? shade.weights[at] : Number.NaN;
        const share = Number.isNaN(value) || shade.top === 0 ? 0 : value / shade.top;
        pen.group(0, top, () => {
          if (share > 0) pen.rect(x, y, wide, LINE - 6, mixed(share));
          const look = { size: SIZE, fill: themed("ink"), bold: focus.has(at) };
          pen.text(x, y + (LINE - 6) / 2, part.side.surface[piece] || part.side.labels[piece], look);
        });
      }
      top += (part.lines + 1) * LINE;
    }
  };
  return { width: WIDTH, height, paint };
}

/** Returns the background mixed with a share of the mark colour, as in the style sheet. */
function mixed(share: number): string {
  const [ground, accent] = [themed("ground"), themed("mark")].map((hex) =>
    [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)),
  );
  const parts = ground.map((from, at) => Math.round(from + share * (accent[at] - from)));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function tableOf({ run, state }: Stage, shade: Shade): Table {
  const labels = run.axis(state, shade.which).labels;
  const focus = focusOf(state).join("+") || "all";
  const rows = labels.map((label, at) => [
    state.kind,
    state.layer,
    state.head,
    state.direction,
    focus,
    at,
    label,
    shade.weights[at],
  ]);
  return {
    columns: ["kind", "layer", "head", "direction", "focus", "position", "token", "weight"],
    rows: rows.filter((row) => !Number.isNaN(row[7])),
  };
}
