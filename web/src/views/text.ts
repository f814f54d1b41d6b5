// Text view: the text itself, shaded by the attention from, or to, the tokens in focus.
import { select } from "d3-selection";
import { cellsOf, escapedControls, isolated, type TextCell, topOf, type Weights } from "../cells";
import { mixed, themed } from "../colour";
import { namesAt } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import { focusOf, toggled, turned } from "../focus";
import { added, total } from "../maps";
import type { Pen } from "../pen";
import { sideNames } from "../sides";
import type { State } from "../state";
import { type Absent, absentLegend, hatch, legendHeight, paintLegend } from "./absent";
import { largestAt, rankedList } from "./ranked";
import { weight } from "./tokens";
import { type Box, paintText } from "./written";

/** Number of characters below which a text is set larger. */
const SHORT = 400;
const HEADING = 34;

type Which = "queries" | "keys";

/** The shading of a text: a weight for each place of an axis, and a description. */
interface Shade extends Weights {
  which: Which;
  description: string;
}

/** A text of the view: its cells, and whether they are shaded and can be chosen. */
interface Part {
  which: Which;
  cells: TextCell[];
  shaded: boolean;
  clickable: boolean;
}

export function textView(stage: Stage): Drawing {
  const { store, state } = stage;
  const shade = shadeOf(stage);
  const parts = partsOf(stage, shade);
  const shaded = parts.filter((part) => part.shaded).flatMap((part) => part.cells);
  const top = topOf(shaded);
  const box = select(stage.host).append("div").attr("class", "text-view").node() as HTMLDivElement;
  const column = select(box).append("div");
  column
    .append("button")
    .attr("type", "button")
    .attr("class", "plain")
    .attr("data-keep", "direction")
    .text(state.direction === "from" ? "attention from the chosen tokens" : "attention to the chosen tokens")
    .attr("title", "the other direction (d)")
    .on("click", () => store.change(turned(state)));
  const hosts = parts.map((part) => {
    const section = column.append("section").attr("aria-label", heading(stage, part.which));
    if (parts.length > 1) section.append("h2").text(heading(stage, part.which));
    const length = part.cells.reduce((sum, cell) => sum + cell.before.length + cell.text.length, 0);
    const text = section.append("p").attr("class", length < SHORT ? "text short" : "text");
    // the direction of the first letter that is not in a <bdi>, as special tokens are
    const host = text.attr("dir", "auto").node() as HTMLParagraphElement;
    drawText(host, stage, part, top);
    return host;
  });
  const absent: Absent = { masked: false, undefined: shaded.some((cell) => cell.undefined) };
  legend(column.node() as HTMLDivElement, top, absent);
  const weights = shaded.map((cell) => cell.weight);
  const best = largestAt(weights).map((at) => ({ name: shaded[at].name, weight: weights[at], chosen: false }));
  rankedList(box, "largest weights", best);
  stage.announce(shade.description);
  return { picture: pictureOf(shade, hosts, absent), table: () => tableOf(stage, shade) };
}

/** Returns the texts to show: one where queries and keys are the same text, else both. */
function partsOf(stage: Stage, shade: Shade): Part[] {
  const { run, state } = stage;
  const maps = run.maps(state);
  const shown: Which[] = maps.queries === maps.keys ? ["keys"] : ["queries", "keys"];
  return shown.map((which) => {
    const shaded = shown.length === 1 || which === shade.which;
    const cells = cellsOf(run.side(state, which), run.axis(state, which), shaded ? shade : null);
    return { which, cells, shaded, clickable: shown.length === 1 || which === focusSide(stage) };
  });
}

function heading({ run, state }: Stage, which: Which): string {
  const maps = run.maps(state);
  if (maps.queries === maps.keys) return "text";
  return `${sideNames(state.kind)[which]} text`;
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
  const names = focus.map((at) => isolated(labels[at])).join(" + ");
  const tokens = focus.length ? names : "all tokens, mean (click tokens to choose)";
  const description = `attention ${fromQuery ? "from" : "to"} ${tokens}: ${weight(total(weights))} in all`;
  return { which, weights, undefinedAt, adds: fromQuery, description };
}

/**
 * Adds the text as one flow of inline elements: buttons would be boxes of their own, which keep letters from joining and
 * scripts from right to left from their order.
 */
function drawText(host: HTMLElement, stage: Stage, { which, cells, clickable }: Part, top: number): void {
  const { run, store, state } = stage;
  const focus = new Set(clickable ? focusOf(state) : []);
  for (const cell of cells) {
    host.append(cell.before);
    if (!cell.places.length) continue;
    const known = cell.undefined ? ": undefined" : Number.isNaN(cell.weight) ? "" : `: ${weight(cell.weight)}`;
    const mark = select(host)
      .append(cell.chip ? "bdi" : "span")
      .attr("class", `piece${cell.chip ? " chip" : ""}${cell.undefined ? " undefined" : ""}`)
      .attr("title", `${isolated(cell.name)}${known}`)
      .attr("data-at", cell.places.join(","))
      .style("--share", String(Number.isNaN(cell.weight) || top === 0 ? 0 : cell.weight / top))
      .text(cell.text);
    if (!clickable) continue;
    const toggle = () => store.change(toggledCell(state, cell.places));
    mark
      .attr("role", "button")
      .attr("tabindex", 0)
      .attr("aria-label", `${isolated(cell.name)}${known}`)
      .attr("data-keep", `piece-${cell.piece}`)
      .attr("aria-pressed", String(cell.places.some((place) => focus.has(place))))
      .on("click", toggle)
      .on("keydown", (event: KeyboardEvent) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        toggle();
      });
  }
  host.append(escapedControls(run.side(state, which).after));
}

/** Returns the state with all tokens of a cell in focus, or with none of them if they were. */
function toggledCell(state: State, places: readonly number[]): State {
  const before = new Set(focusOf(state));
  const chosen = places.some((place) => before.has(place));
  let next = state;
  for (const place of places) {
    if (before.has(place) === chosen) next = { ...next, ...toggled(next, next.direction, place) };
  }
  return next;
}

function legend(host: HTMLElement, top: number, absent: Absent): void {
  const box = select(host).append("p").attr("class", "legend");
  box.append("span").text("0");
  box.append("span").attr("class", "ramp").attr("aria-hidden", "true");
  box.append("span").attr("data-top", "").text(weight(top));
  absentLegend(host, absent);
}

/** Returns the picture of the texts as they stand on the page. */
function pictureOf(shade: Shade, hosts: HTMLElement[], absent: Absent): Drawing["picture"] {
  const boxes = hosts.map((host) => host.getBoundingClientRect());
  const heights = boxes.map((box) => box.height + HEADING / 2);
  const width = Math.max(...boxes.map((box) => box.width));
  const high = HEADING + heights.reduce((sum, height) => sum + height, 0);
  const paint = (pen: Pen) => {
    pen.text(0, HEADING / 2, shade.description, { size: 12, fill: themed("soft") });
    let top = HEADING;
    hosts.forEach((host, at) => {
      const origin = host.getBoundingClientRect();
      pen.group(0, top, () => paintText(pen, host, origin, background));
      top += heights[at];
    });
    paintLegend(pen, absent, 0, high);
  };
  return { width, height: high + legendHeight(absent), paint };
}

function background(pen: Pen, piece: HTMLElement, { left, top, right, bottom }: Box): void {
  const share = Number(piece.style.getPropertyValue("--share"));
  if (piece.classList.contains("undefined")) hatch(pen, left, top, right - left, bottom - top);
  else if (share > 0) pen.rect(left, top, right - left, bottom - top, mixed(share, "mark"));
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
