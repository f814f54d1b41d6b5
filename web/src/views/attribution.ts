// Attribution view: the text shaded by how much each token counts for a prediction, a line for each method, beside the
// attention that the rows which predict give to the same tokens.
import { select } from "d3-selection";
import { cellsOf, escapedControls, isolated, type TextCell } from "../cells";
import { mixed, themed } from "../colour";
import { namesAt } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import type { Pen } from "../pen";
import type { Attribution, Side } from "../schema";
import { missing } from "./missing";
import { largestAt } from "./ranked";
import { type Box, paintText } from "./written";

const HEADING = 30;
const BETWEEN = 26;
/** Number of tokens in the table. */
const MOST_ROWS = 16;

/** One way to shade the tokens of one side. */
interface Part {
  /** The method, or the head whose attention it is. */
  name: string;
  caption: string;
  sideName: string;
  number: number;
  side: Side;
  /** The pieces at which the prediction is made, unless all tokens are. */
  predicts: Set<number>;
  values: Float32Array;
  cells: TextCell[];
}

export function attributionView(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const { attribution } = run.page;
  if (!attribution) return missing(stage, "This page contains no attribution.");
  const output = attribution.outputs[state.output];
  const chosen = attribution.methods.filter(({ name }) => !state.method || name === state.method);
  const parts = [
    ...chosen.flatMap((method) => ofMethod(stage, attribution, method)),
    ...ofAttention(stage, attribution),
  ];
  const top = Math.max(0, ...parts.flatMap((part) => part.cells.map((cell) => Math.abs(cell.weight) || 0)));
  const signed = chosen.some((method) => method.signed);
  const box = select(stage.host).append("div").attr("class", "attribution-view").node() as HTMLDivElement;
  menu(
    box,
    "method",
    state.method,
    [["", "all"], ...attribution.methods.map(({ name }) => [name, name] as const)],
    (value) => store.change({ method: value }),
  );
  const names = attribution.outputs.map(({ name }, at) => [String(at), `${at}: ${name}`] as const);
  menu(box, "prediction", String(state.output), names, (value) => store.change({ output: Number(value) }));
  const probability = output.probability === null ? "" : `, p = ${output.probability.toFixed(3)}`;
  const title = `${output.name}: ${attribution.score} ${shown(output.score)}${probability}`;
  select(box).append("p").attr("class", "question").attr("dir", "auto").text(title);
  legend(box, top, signed, attribution.score === "number", parts.some(marksToken));
  const hosts = parts.map((part) => drawPart(box, part, top));
  if (!parts.some((part) => part.name === "attention of the head")) {
    const why = `No row of ${state.kind} attention makes the prediction: choose another kind.`;
    select(box).append("p").attr("class", "question").text(why);
  }
  drawTable(box, parts);
  stage.announce(announced(output.name, parts));
  return { picture: pictureOf(title, parts, hosts), table: () => tableOf(stage, parts, output.name) };
}

function menu(
  host: HTMLElement,
  name: string,
  value: string,
  options: readonly (readonly [string, string])[],
  pick: (value: string) => void,
): void {
  if (options.length < (name === "method" ? 3 : 2)) return;
  const label = select(host).append("label").attr("class", "choice");
  label.append("span").text(name);
  label
    .append("select")
    .attr("data-keep", name)
    .attr("name", name)
    .on("change", (event: Event) => pick((event.target as HTMLSelectElement).value))
    .selectAll("option")
    .data(options)
    .join("option")
    .attr("value", ([key]) => key)
    .property("selected", ([key]) => key === value)
    .text(([, text]) => text);
}

/** Returns the sides of a text with the shares of a method. */
function ofMethod(stage: Stage, attribution: Attribution, method: Attribution["methods"][0]): Part[] {
  const { run, state } = stage;
  const number = attribution.methods.indexOf(method);
  const caption = method.baseline === null ? method.name : `${method.name}, baseline ${method.baseline}`;
  return attribution.sides.map(({ name, side }, at) => {
    const axis = run.axisOf(side, state);
    const values = summed(run.shares(state, number, at), axis.places, axis.labels.length);
    const title = attribution.sides.length > 1 ? `${caption} · ${name}` : caption;
    return part(stage, method.name, title, name, side, values);
  });
}

/** Returns the keys of the chosen head with the attention of the rows that predict; none if no row does. */
function ofAttention(stage: Stage, attribution: Attribution): Part[] {
  const { run, state } = stage;
  const weights = run.predictingRow(state);
  const { keys } = run.maps(state);
  const side = attribution.sides.find((one) => one.side === keys);
  if (!weights || !side) return [];
  const head =
    typeof state.head === "number" ? `head ${state.layer}.${state.head}` : `layer ${state.layer}, ${state.head}`;
  const title = `attention of ${head} (${state.kind}), from the rows that predict`;
  return [part(stage, "attention of the head", title, side.name, keys, weights)];
}

function part(
  stage: Stage,
  name: string,
  caption: string,
  sideName: string,
  number: number,
  values: Float32Array,
): Part {
  const side = stage.run.page.sides[number];
  const axis = stage.run.axisOf(number, stage.state);
  const cells = cellsOf(side, axis, { weights: values, undefinedAt: axis.labels.map(() => false), adds: true });
  const predicts = predicting(stage, number);
  return { name, caption, sideName, number, side, predicts, values, cells };
}

function predicting({ run, state }: Stage, number: number): Set<number> {
  const { outputs } = run.page.attribution as Attribution;
  const rows = run.maps(state).queries === number ? (outputs[state.output].rows[state.kind] ?? []) : [];
  return new Set(rows.length < run.page.sides[number].pieces.length ? rows : []);
}

/** Returns the sum of the shares of the pieces at each place; NaN where no piece is read. */
function summed(shares: Float32Array, places: readonly number[], count: number): Float32Array {
  const sums = new Float32Array(count).fill(Number.NaN);
  shares.forEach((share, piece) => {
    const place = places[piece];
    if (place >= 0 && !Number.isNaN(share)) sums[place] = (Number.isNaN(sums[place]) ? 0 : sums[place]) + share;
  });
  return sums;
}

/** Returns whether a token that predicts is drawn: special ones may be left out. */
function marksToken({ cells, predicts }: Part): boolean {
  return cells.some((cell) => cell.places.length > 0 && predicts.has(cell.piece));
}

function drawPart(box: HTMLElement, { caption, side, cells, predicts }: Part, top: number): HTMLElement {
  const section = select(box).append("section").attr("aria-label", caption);
  section.append("h2").text(caption);
  const host = section.append("p").attr("class", "text").attr("dir", "auto").node() as HTMLParagraphElement;
  for (const cell of cells) {
    host.append(cell.before);
    if (!cell.places.length) continue;
    const name = `${isolated(cell.name)}: ${shown(cell.weight)}`;
    select(host)
      .append(cell.chip ? "bdi" : "span")
      .attr("class", `piece${cell.chip ? " chip" : ""}${cell.weight < 0 ? " against" : ""}`)
      .classed("predicts", predicts.has(cell.piece))
      .attr("title", predicts.has(cell.piece) ? `${name}, predicts` : name)
      .attr("data-at", cell.places.join(","))
      .style("--share", String(top > 0 && !Number.isNaN(cell.weight) ? Math.abs(cell.weight) / top : 0))
      .text(cell.text);
  }
  host.append(escapedControls(side.after));
  return host;
}

function legend(host: HTMLElement, top: number, signed: boolean, ofNumber: boolean, marks: boolean): void {
  const box = select(host).append("p").attr("class", "legend");
  box.append("span").text(signed ? shown(-top) : "0");
  box
    .append("span")
    .attr("class", signed ? "ramp signed" : "ramp")
    .attr("aria-hidden", "true");
  box.append("span").attr("data-top", "").text(shown(top));
  const sign = ofNumber ? "below 0 lowers the number" : "below 0 against the prediction";
  box.append("span").text(`share of all tokens${signed ? `, ${sign}` : ""}`);
  if (marks) box.append("span").attr("class", "piece predicts").text("predicts");
}

/** Adds the numbers of the tokens with the largest shares, the methods side by side. */
function drawTable(host: HTMLElement, parts: readonly Part[]): void {
  const table = select(host).append("div").attr("class", "scroll").append("table");
  const names = [...new Set(parts.map((part) => part.name))];
  const rows = rowsOf(parts, names);
  const head = table.append("thead").append("tr");
  for (const name of ["token", ...names]) head.append("th").attr("scope", "col").text(name);
  const body = table.append("tbody");
  for (const { token, values } of rows) {
    const line = body.append("tr");
    line.append("td").append("bdi").text(token);
    for (const value of values) line.append("td").text(shown(value));
  }
}

/** Returns the tokens with the largest shares by any method, in the order of the first. */
function rowsOf(parts: readonly Part[], names: readonly string[]): { token: string; values: number[] }[] {
  const sides = [...new Set(parts.map((part) => part.number))];
  const all = sides.flatMap((number) => {
    const ofSide = parts.filter((part) => part.number === number);
    return ofSide[0].cells
      .map((cell, at) => ({ cell, at }))
      .filter(({ cell }) => cell.places.length)
      .map(({ cell, at }) => ({
        token: sides.length > 1 ? `${cell.name} (${ofSide[0].sideName})` : cell.name,
        values: names.map((name) => ofSide.find((part) => part.name === name)?.cells[at].weight ?? Number.NaN),
      }));
  });
  const size = ({ values }: { values: number[] }) => Math.max(0, ...values.map((value) => Math.abs(value) || 0));
  const best = largestAt(all.map(size), MOST_ROWS).map((at) => all[at]);
  return best.sort((a, b) => (Math.abs(b.values[0]) || 0) - (Math.abs(a.values[0]) || 0));
}

function announced(prediction: string, parts: readonly Part[]): string {
  const names = [...new Set(parts.map((part) => part.name))];
  const first = names.map((name) => {
    const cells = parts.filter((part) => part.name === name).flatMap((part) => part.cells);
    const [best] = largestAt(
      cells.map((cell) => Math.abs(cell.weight) || 0),
      1,
    );
    return best === undefined
      ? `${name}: nothing`
      : `${name}: ${isolated(cells[best].name)} ${shown(cells[best].weight)}`;
  });
  return `${isolated(prediction)}, most by ${first.join(" · ")}`;
}

function shown(value: number): string {
  if (Number.isNaN(value)) return "–";
  return Math.abs(value) < 0.0005 ? "0" : value.toFixed(3).replace("-", "−");
}

/** Returns the picture of the texts as they stand on the page. */
function pictureOf(title: string, parts: readonly Part[], hosts: HTMLElement[]): Drawing["picture"] {
  const boxes = hosts.map((host) => host.getBoundingClientRect());
  const width = Math.max(320, ...boxes.map((box) => box.width));
  const height = HEADING + boxes.reduce((sum, box) => sum + box.height + BETWEEN, 0);
  const paint = (pen: Pen) => {
    pen.text(0, HEADING / 2, title, { size: 13, fill: themed("ink"), bold: true });
    let top = HEADING;
    hosts.forEach((host, at) => {
      pen.text(0, top + BETWEEN / 2, parts[at].caption, { size: 12, fill: themed("soft") });
      const origin = host.getBoundingClientRect();
      pen.group(0, top + BETWEEN, () => paintText(pen, host, origin, background));
      top += boxes[at].height + BETWEEN;
    });
  };
  return { width, height, paint };
}

function background(pen: Pen, piece: HTMLElement, { left, top, right, bottom }: Box): void {
  const share = Number(piece.style.getPropertyValue("--share"));
  const colour = piece.classList.contains("against") ? "against" : "mark";
  if (share > 0) pen.rect(left, top, right - left, bottom - top, mixed(share, colour));
}

function tableOf({ run, state }: Stage, parts: readonly Part[], prediction: string): Table {
  const rows = parts.flatMap((part) => {
    const axis = run.axisOf(part.number, state);
    const about = [part.name, state.output, prediction, part.sideName];
    return [...axis.labels.keys()]
      .filter((at) => !Number.isNaN(part.values[at]))
      .map((at) => [...about, at, ...namesAt(axis, at), part.values[at]]);
  });
  return { columns: ["method", "output", "prediction", "side", "position", "token", "piece", "share"], rows };
}
