// Text view: the text itself, shaded by the attention from, or to, the tokens in focus.
import { select } from "d3-selection";
import { themed } from "../colour";
import { namesAt } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import { focusOf, toggled, turned } from "../focus";
import { added, largest, total } from "../maps";
import { FONT, type Pen } from "../pen";
import type { Axis } from "../run";
import type { Side } from "../schema";
import { type Absent, absentLegend, hatch, legendHeight, paintLegend } from "./absent";
import { weight } from "./tokens";

const WIDTH = 720;
const LINE = 28;
const SIZE = 15;

type Which = "queries" | "keys";

/** The shading of a text: a weight for each place of an axis, and a description. */
interface Shade {
  which: Which;
  weights: Float32Array;
  /** Whether the weight of each place is undefined. */
  undefinedAt: boolean[];
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
  const keyLabels = run.axis(state, "keys").labels;
  const which: Which = fromQuery ? "keys" : "queries";
  const line = (at: number) => (fromQuery ? run.row(state, state.head, at) : run.column(state, state.head, at));
  const chosen = focus.length ? focus : [...labels.keys()];
  const absent = run.undefinedRows(state, state.head);
  const sums = added(chosen.map(line));
  // undefined queries do not count in the mean over all queries
  const count = labels.length - (fromQuery ? absent.filter(Boolean).length : 0);
  const weights = focus.length ? sums : sums.map((sum) => sum / count);
  const undefinedAt = fromQuery ? keyLabels.map(() => chosen.every((query) => absent[query])) : absent;
  const names = focus.map((at) => labels[at]).join(" + ");
  const tokens = focus.length ? names : "all tokens, mean (click tokens to choose)";
  const description = `attention ${fromQuery ? "from" : "to"} ${tokens}: ${weight(total(weights))} in all`;
  return { which, weights, undefinedAt, top: largest(weights), description };
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
    const isUndefined = shaded && shade.undefinedAt[at];
    const known = isUndefined ? ": undefined" : Number.isNaN(value) ? "" : `: ${weight(value)}`;
    const tooltip = `${axis.labels[at]}${known}`;
    const mark = text
      .append(clickable ? "button" : "span")
      .attr("class", `piece${side.surface[piece] ? "" : " chip"}${isUndefined ? " undefined" : ""}`)
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
  absentLegend(host, absentIn(shade));
}

function absentIn(shade: Shade): Absent {
  return { masked: false, undefined: shade.undefinedAt.some(Boolean) };
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
  const legendTop = parts.reduce((sum, part) => sum + (part.lines + 2) * LINE, 0);
  const height = legendTop + legendHeight(absentIn(shade));
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
          if ((parts.length === 1 || part.which === shade.which) && shade.undefinedAt[at])
            hatch(pen, x, y, wide, LINE - 6);
          else if (share > 0) pen.rect(x, y, wide, LINE - 6, mixed(share));
          const look = { size: SIZE, fill: themed("ink"), bold: focus.has(at) };
          pen.text(x, y + (LINE - 6) / 2, part.side.surface[piece] || part.side.labels[piece], look);
        });
      }
      top += (part.lines + 1) * LINE;
    }
    paintLegend(pen, absentIn(shade), 0, legendTop);
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
  const axis = run.axis(state, shade.which);
  const window = run.maps(state).window;
  const first = window ? window[shade.which === "queries" ? 0 : 1][0] : 0;
  const focus = focusOf(state).join("+") || "all";
  const about = [state.kind, state.layer, state.head, state.direction, focus];
  const rows = [...axis.labels.keys()]
    .filter((at) => !Number.isNaN(shade.weights[at]))
    .map((at) => [...about, first + at, ...namesAt(axis, at), shade.weights[at]]);
  return { columns: ["kind", "layer", "head", "direction", "focus", "position", "token", "piece", "weight"], rows };
}
