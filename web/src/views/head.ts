// Head view: query tokens on the left, key tokens on the right, a line for every visible weight.
import { select } from "d3-selection";
import { isolated } from "../cells";
import { headColour, themed } from "../colour";
import { PAIR_COLUMNS, pairNames } from "../columns";
import type { Drawing, Pointed, Stage, Table } from "../drawing";
import { type Direction, focusOf, toggled } from "../focus";
import { added, total } from "../maps";
import type { Pen } from "../pen";
import { sideNames } from "../sides";
import type { HeadName, State } from "../state";
import { oncePerFrame } from "../turns";
import { absentLegend } from "./absent";
import { focusedOpacity, type Lane, lineCanvas, linesOf, opacityOfAll, paintLines, strongest } from "./lines";
import { lineHeight, textSize, tokenColumn, weight } from "./tokens";

const LEAST_GAP = 90;
const MOST_GAP = 1000;
const LEAST_SIDE = 110;
const MOST_SIDE = 240;

export function headView(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const queries = run.axis(state, "queries");
  const keys = run.axis(state, "keys");
  const heads = drawnHeads(stage);
  headChips(stage, heads);
  const absent = undefinedQueries(stage, heads);
  absentLegend(stage.host, { masked: false, undefined: absent.some(Boolean) });
  const lane = laneOf(stage);
  const { line } = lane;
  const count = Math.max(queries.labels.length, keys.labels.length);

  const box = select(stage.host).append("div").attr("class", "head-view").node() as HTMLDivElement;
  box.style.gridTemplateColumns = `minmax(0, ${lane.left}px) max-content minmax(0, ${lane.left}px)`;
  let pointed: Pointed | null = null;
  const point = (side: Pointed["side"]) => (at: number | null) => {
    pointed = at === null ? null : { side, at };
    refresh();
  };
  const pin = (direction: Direction) => (at: number) => store.change(toggled(state, direction, at));
  const sides = sideNames(state.kind);
  const left = tokenColumn(box, { name: "query", label: `${sides.queries} tokens`, left: true, line }, queries, {
    point: point("query"),
    pin: pin("from"),
  });
  const label = `lines of attention of ${heads.length === 1 ? `head ${heads[0]}` : `${heads.length} heads`}`;
  const between = lineCanvas(box, label, lane, line * count);
  const right = tokenColumn(box, { name: "key", label: `${sides.keys} tokens`, left: false, line }, keys, {
    point: point("key"),
    pin: pin("to"),
  });
  const colours = heads.map((head) => colourOf(stage, head));
  const faint = strongest(stage, heads);
  left.nodes.classed("undefined", (_, at) => absent[at]);
  left.nodes.attr("title", (_, at) => (absent[at] ? "undefined: this query has no weights" : null));

  const draw = () => {
    const focus = pointed ? { side: pointed.side, pinned: [pointed.at] } : pinnedOf(state);
    const at = focus?.pinned ?? [];
    const fromQuery = focus?.side === "query";
    left.mark(fromQuery ? at : []);
    right.mark(fromQuery ? [] : at);
    const lines = focus ? linesOf(stage, heads, at, fromQuery) : faint;
    const opacity = focus ? focusedOpacity : opacityOfAll(faint);
    const here = { ...lane, left: 0, right: lane.right - lane.left };
    between.show((pen, inSight) => paintLines(pen, lines.filter(inSight), here, colours, opacity));
    const sums = focus ? summed(stage, heads, at, fromQuery) : null;
    const colour = heads.length === 1 ? colours[0] : themed("accent");
    left.shade(fromQuery ? null : sums, colour, pointed !== null);
    right.shade(fromQuery ? sums : null, colour, pointed !== null);
    if (sums) stage.announce(sentence(at, fromQuery, sums, queries.labels, keys.labels));
  };
  const refresh = oncePerFrame(draw);
  draw();
  if (!pinnedOf(state)) stage.announce("point at a token to see its weights; a click keeps them");

  return {
    picture: {
      width: lane.left + lane.right,
      height: line * count,
      paint: (pen) => paintAll(pen, stage, heads, lane),
    },
    table: () => tableOf(stage, heads),
    end: between.end,
  };
}

/** Returns where lines are drawn: between two columns of tokens, in the pixels that are left below the head buttons. */
function laneOf({ host, width, height, run, state }: Stage): Lane {
  const side = Math.max(LEAST_SIDE, Math.min(MOST_SIDE, (width - LEAST_GAP) / 2, 0.17 * width));
  const gap = Math.max(LEAST_GAP, Math.min(MOST_GAP, width - 2 * side));
  const count = Math.max(...(["queries", "keys"] as const).map((which) => run.axis(state, which).labels.length));
  const used = (host.lastElementChild?.getBoundingClientRect().bottom ?? 0) - host.getBoundingClientRect().top;
  return { left: side, right: side + gap, line: lineHeight(height - Math.max(0, used), count) };
}

/** Returns the heads whose lines are drawn: the chosen ones, or all combined. */
function drawnHeads({ run, state }: Stage): HeadName[] {
  const { heads } = run.layer(state);
  if (typeof state.head === "string" || !heads.length) return [state.head];
  return state.heads ?? [state.head];
}

function colourOf({ run, state }: Stage, head: HeadName): string {
  return typeof head === "number" ? headColour(run.layer(state).heads.indexOf(head)) : themed("accent");
}

/** Adds a button for each head, which shows or hides its lines. */
function headChips(stage: Stage, drawn: readonly HeadName[]): void {
  const { run, store, state } = stage;
  const { heads } = run.layer(state);
  if (heads.length < 2 || typeof state.head === "string") return;
  const box = select(stage.host)
    .append("div")
    .attr("class", "chips")
    .attr("role", "group")
    .attr("aria-label", "heads whose lines are drawn");
  box
    .selectAll("button")
    .data(heads)
    .join("button")
    .attr("type", "button")
    .attr("class", "chip")
    .attr("data-keep", (head) => `chip-${head}`)
    .style("--colour", (head) => colourOf(stage, head))
    .attr("aria-pressed", (head) => String(drawn.includes(head)))
    .attr("title", (head) => `head ${head}: click to draw or hide its lines`)
    .text((head) => head)
    .on("click", (_, head) => {
      const next = drawn.includes(head) ? drawn.filter((other) => other !== head) : [...drawn, head];
      const numbers = heads.filter((number) => next.includes(number));
      store.change(numbers.length === 1 ? { head: numbers[0], heads: null } : { heads: numbers });
    });
  const all = drawn.length === heads.length;
  box
    .append("button")
    .attr("type", "button")
    .attr("class", "plain")
    .attr("data-keep", "chip-all")
    .text(all ? "only one" : "all heads")
    .on("click", () => store.change({ heads: all ? null : heads }));
}

function pinnedOf(state: State): { side: Pointed["side"]; pinned: number[] } | null {
  const pinned = focusOf(state);
  return pinned.length ? { side: state.direction === "from" ? "query" : "key", pinned } : null;
}

/** Returns for each query whether it has no weights in any of these heads. */
function undefinedQueries({ run, state }: Stage, heads: HeadName[]): boolean[] {
  const ofHeads = heads.map((head) => run.undefinedRows(state, head));
  return run.axis(state, "queries").labels.map((_, at) => heads.length > 0 && ofHeads.every((rows) => rows[at]));
}

function summed({ run, state }: Stage, heads: HeadName[], focus: number[], fromQuery: boolean): Float32Array {
  if (!heads.length) return new Float32Array();
  return added(focus.map((at) => run.meanOf(state, heads, fromQuery ? "from" : "to", at)));
}

function paintAll(pen: Pen, stage: Stage, heads: HeadName[], lane: Lane): void {
  const { run, state } = stage;
  const [queries, keys] = [run.axis(state, "queries").labels, run.axis(state, "keys").labels];
  const focus = pinnedOf(state);
  const fromQuery = focus?.side === "query";
  const lines = focus ? linesOf(stage, heads, focus.pinned, fromQuery) : strongest(stage, heads);
  const colours = heads.map((head) => colourOf(stage, head));
  paintLines(pen, lines, lane, colours, focus ? focusedOpacity : opacityOfAll(lines));
  const look = { size: textSize(lane.line), fill: themed("ink") };
  const chosen = (side: Pointed["side"], at: number) => focus?.side === side && focus.pinned.includes(at);
  const middle = (at: number) => (at + 0.5) * lane.line;
  queries.forEach((label, at) => {
    pen.text(lane.left - 8, middle(at), label, { ...look, anchor: "end", bold: chosen("query", at) });
  });
  keys.forEach((label, at) => {
    pen.text(lane.right + 8, middle(at), label, { ...look, bold: chosen("key", at) });
  });
}

function tableOf({ run, state }: Stage, heads: HeadName[]): Table {
  const names = pairNames(run, state);
  const rows: Table["rows"] = [];
  for (const head of heads) {
    run.axis(state, "queries").labels.forEach((_, query) => {
      run.row(state, head, query).forEach((weight, key) => {
        if (!Number.isNaN(weight)) rows.push([state.kind, state.layer, head, ...names(query, key), weight]);
      });
    });
  }
  return { columns: ["kind", "layer", "head", ...PAIR_COLUMNS, "weight"], rows };
}

/** Returns the lines in words, for the status line. */
function sentence(at: number[], fromQuery: boolean, sums: Float32Array, queries: string[], keys: string[]): string {
  const [focusLabels, otherLabels] = fromQuery ? [queries, keys] : [keys, queries];
  const best = [...sums.keys()].filter((other) => sums[other] > 0).sort((a, b) => sums[b] - sums[a]);
  const named = best.slice(0, 3).map((other) => `${isolated(otherLabels[other])} ${weight(sums[other])}`);
  const focus = at.map((token) => isolated(focusLabels[token])).join(" + ");
  const all = total(sums);
  const rest = fromQuery || at.length > 1 ? "" : `, ${weight(all)} in all`;
  return `${focus} ${fromQuery ? "attends to" : "receives attention from"} ${named.join(", ") || "nothing"}${rest}`;
}
