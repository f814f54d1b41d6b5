// The panel beside the map of a head: how true the map is, the sentence of one point, the selected tokens.
import { type Selection, select } from "d3-selection";
import { cellsOf, escapedControls, isolated, type TextCell } from "../cells";
import { csvOf, download } from "../ui/save";
import { weight } from "../views/tokens";
import { countedTokens } from "./found";
import { type Attended, distance, type QkMaps, type Side, type Token } from "./maps";
import type { State } from "./state";
import { type Stage, short } from "./view";

/** Number of listed weights. */
const LISTED = 8;
/** Number of listed tokens of a selection. */
const MOST_TOKENS = 200;
/** Number of cells of a text that is shown whole; else of those on each side of the token, and of coloured cells. */
const SHORT_TEXT = 250;
const AROUND_TOKEN = 40;
const AROUND_WEIGHT = 8;

type Box = Selection<HTMLElement, unknown, null, undefined>;

export function drawQuality(host: HTMLElement, maps: QkMaps, state: State): void {
  const { verdict, numbers, true: isTrue } = maps.quality(state);
  const box = select(host);
  box.selectAll("*").remove();
  box.append("h2").text(`How true the map of head ${state.head} is`);
  box
    .append("p")
    .attr("class", isTrue ? "verdict" : "verdict poor")
    .text(verdict);
  if (!numbers.length) return;
  const table = box.append("div").attr("class", "scroll").append("table");
  const heading = table.append("thead").append("tr");
  for (const text of ["", "map", "all dimensions", "chance"]) heading.append(text ? "th" : "td").text(text);
  const body = table.append("tbody");
  for (const { name, map, full, chance } of numbers) {
    const row = body.append("tr");
    row.append("th").attr("scope", "row").text(name);
    for (const value of [map, full, chance]) row.append("td").text(short(value));
  }
}

/** Draws the sentence of a point, with the attention of the head from it or to it, and both numbers as a list. */
export function drawPoint(host: HTMLElement, stage: Stage, state: State, point: number | null): void {
  const { maps } = stage;
  const box: Box = select(host);
  box.selectAll("*").remove();
  if (point === null) {
    box.append("h2").text("Token");
    box.append("p").text("Point at a token to see its sentence and where the head attends there. A click keeps it.");
    return;
  }
  const token = maps.token(state, point);
  const attended = maps.attended(state, point);
  const { norms } = maps.map(state);
  box.append("h2").text(`${token.side === "query" ? "Query" : "Key"} ${isolated(token.label)}`);
  const about = [`text ${maps.kind(state).texts[token.text].index}`, `position ${token.position}`];
  box.append("p").text([...about, `norm ${norms[point].toPrecision(3)}`].join(" · "));
  drawSentences(box, maps, state, token, attended);
  drawList(box, stage, state, point, attended);
}

/** Draws the text of the token, and in cross-attention that of the other side. */
function drawSentences(box: Box, maps: QkMaps, state: State, token: Token, attended: readonly Attended[]): void {
  const other: Side = token.side === "query" ? "key" : "query";
  const same = maps.list(state, token.text, "query") === maps.list(state, token.text, "key");
  for (const side of same ? [other] : [token.side, other]) {
    if (!same) box.append("h3").text(side === "query" ? "text of queries" : "text of keys");
    const shaded = side === other ? attended : [];
    const own = side === token.side || same ? token.position : null;
    drawSentence(box, maps, state, { text: token.text, side }, shaded, own);
  }
}

function drawSentence(
  box: Box,
  maps: QkMaps,
  state: State,
  { text, side }: { text: number; side: Side },
  attended: readonly Attended[],
  own: number | null,
): void {
  const list = maps.list(state, text, side);
  const weights = new Float32Array(list.labels.length);
  for (const { position, weight } of attended) weights[position] = weight;
  const places = list.labels.map((_, at) => at);
  const shade = { weights, undefinedAt: list.labels.map(() => false), adds: side === "key" };
  const cells = cellsOf(list, { labels: list.labels, places }, shade);
  const top = Math.max(...cells.map((cell) => cell.weight || 0)) || 1;
  const shown = shownCells(cells, own);
  const host = box.append("p").attr("class", "sentence text").attr("dir", "auto").attr("tabindex", 0);
  cells.forEach((cell, at) => {
    if (shown[at]) drawCell(host, cell, top, own);
    else if (at === 0 || shown[at - 1]) host.append("span").text(" … ");
  });
  if (shown[cells.length - 1]) host.append("span").text(escapedControls(list.after));
  scrollTo(host.node() as HTMLElement);
}

/** Returns which cells are shown: of a long text those around the token, and around each that is coloured. */
export function shownCells(cells: readonly TextCell[], own: number | null): boolean[] {
  const shown = cells.map(() => cells.length <= SHORT_TEXT);
  cells.forEach((cell, at) => {
    const around = own !== null && cell.places.includes(own) ? AROUND_TOKEN : cell.weight > 0 ? AROUND_WEIGHT : -1;
    if (around >= 0) shown.fill(true, Math.max(0, at - around), at + around + 1);
  });
  return shown;
}

function drawCell(
  host: Selection<HTMLParagraphElement, unknown, null, undefined>,
  cell: TextCell,
  top: number,
  own: number | null,
): void {
  if (cell.before) host.append("span").text(cell.before);
  const chosen = own !== null && cell.places.includes(own);
  const piece = host
    .append(cell.chip ? "bdi" : "span")
    .attr("class", `piece${cell.chip ? " chip" : ""}${chosen ? " chosen" : ""}`)
    .style("--share", String((cell.weight || 0) / top))
    .text(cell.text);
  if (cell.weight > 0) piece.attr("title", `${isolated(cell.name)}: ${weight(cell.weight)}`);
}

/** Scrolls a long sentence, but not the page, to the chosen token. */
function scrollTo(host: HTMLElement): void {
  const chosen = host.querySelector<HTMLElement>(".chosen");
  if (chosen) host.scrollTop = chosen.offsetTop - host.clientHeight / 2;
}

/** Lists the strongest weights, each with the distance of both points in the map. */
function drawList(box: Box, { maps, store }: Stage, state: State, point: number, attended: readonly Attended[]): void {
  const isQuery = point < maps.table(state).queries;
  const sum = attended.reduce((total, { weight }) => total + weight, 0);
  const strongest = `The ${attended.length} strongest keys hold ${sum.toFixed(2)} of its attention.`;
  const from = `${attended.length} queries of the map have it among their strongest keys.`;
  box.append("p").text(isQuery ? strongest : from);
  if (!attended.length) return;
  const { points } = maps.map(state);
  const table = box.append("div").attr("class", "scroll").append("table");
  const heading = table.append("thead").append("tr");
  for (const text of [isQuery ? "key" : "query", "position", "weight", "distance"]) {
    heading.append("th").attr("scope", "col").text(text);
  }
  const body = table.append("tbody");
  for (const { label, position, weight: value, point: other } of attended.slice(0, LISTED)) {
    const row = body.append("tr");
    const name = row.append("td");
    if (other === null) name.append("bdi").text(label);
    else {
      const button = name
        .append("button")
        .attr("type", "button")
        .on("click", () => {
          store.change({ point: other });
          // this list is gone: the keys go on from the map
          box.node()?.closest(".head-map")?.querySelector("canvas")?.focus({ preventScroll: true });
        });
      button.append("bdi").text(label);
    }
    row.append("td").text(position);
    row.append("td").text(weight(value));
    row.append("td").text(other === null ? "not sampled" : distance(points, point, other).toPrecision(3));
  }
}

/** Lists the selected tokens with their counts; they can be copied, saved and dropped. */
export function drawSelection(host: HTMLElement, stage: Stage): void {
  const { maps, selection } = stage;
  const { state } = stage.store;
  const box = select(host);
  box.selectAll("*").remove();
  box.append("h2").text("Selection");
  if (!selection.points) {
    box.append("p").text("Draw around tokens to list them: Lasso, or drag with Shift.");
    return;
  }
  const points = [...selection.points];
  const { queries } = maps.table(state);
  const ofQueries = points.filter((point) => point < queries).length;
  box.append("p").text(`${points.length} points: ${ofQueries} queries, ${points.length - ofQueries} keys`);
  const buttons = box.append("div").attr("class", "buttons");
  const counted = countedTokens(maps, state, points);
  const lines = counted.map(({ side, label, points }) => `${label}\t${side}\t${points.length}`);
  const actions: [string, string, () => void][] = [
    ["Copy", "copy the tokens with their counts", () => void copy(lines.join("\n"), stage)],
    ["CSV", "the selected points as a CSV file", () => save(stage, points)],
    ["Clear", "select nothing (Escape)", () => selection.set(null)],
  ];
  for (const [text, title, act] of actions) {
    buttons
      .append("button")
      .attr("type", "button")
      .attr("class", "plain")
      .attr("title", title)
      .text(text)
      .on("click", act);
  }
  const list = box.append("ul").attr("class", "counted").attr("tabindex", 0).attr("aria-label", "selected tokens");
  for (const { side, label, points: same } of counted.slice(0, MOST_TOKENS)) {
    const line = list.append("li");
    line
      .append("span")
      .attr("class", `shape ${side}`)
      .attr("aria-hidden", "true")
      .text(side === "query" ? "●" : "◆");
    const button = line.append("button").attr("type", "button").attr("title", side);
    button.append("bdi").text(label);
    button.on("click", () => stage.store.change({ point: same[0] }));
    line.append("span").attr("class", "count").text(same.length);
  }
  if (counted.length > MOST_TOKENS) box.append("p").text(`and ${counted.length - MOST_TOKENS} more tokens`);
}

async function copy(text: string, { announce }: Stage): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    announce("copied the selected tokens");
  } catch {
    announce("the browser does not allow copying: save the selection as CSV");
  }
}

/** Saves points with the columns of the tables of points that attncli writes. */
function save({ maps, store }: Stage, points: readonly number[]): void {
  const { state } = store;
  const [layer, head] = state.head.split(".");
  const { points: places, norms } = maps.map(state);
  const rows = points.map((point) => {
    const { side, text, position, label } = maps.token(state, point);
    const place = [places[2 * point], places[2 * point + 1], norms[point]];
    return [state.kind, layer, head, maps.kind(state).texts[text].index, position, label, side, ...place];
  });
  const columns = ["kind", "layer", "head", "text", "position", "token", "side", "x", "y", "norm"];
  download(`qk-map-${state.kind}-${state.head}.csv`, csvOf({ columns, rows }), "text/csv");
}
