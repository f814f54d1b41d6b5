// Numbers view: every measure of every head, as a map of layers x heads and as a sortable table.
import { ascending, descending } from "d3-array";
import { select } from "d3-selection";
import { ink, themed, viridis } from "../colour";
import type { Drawing, Stage } from "../drawing";
import type { Pen } from "../pen";
import type { HeadRow } from "../schema";
import type { HeadName, LayerName } from "../state";
import { headNames, layerName } from "../ui/grid";
import { absentLegend, hatch, LEGEND_HIGH, legendHeight, paintLegend } from "./absent";
import { missing } from "./missing";

const USUAL = "entropy";
const NOTHING = "This page contains no measures of this kind of attention.";
const CELL = 46;
const MOST_CELL = 120;
const HIGH = 26;
const LABEL = 40;

export function numbersView(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const { stats } = run.page;
  const rows = (stats?.heads ?? []).filter((row) => row.kind === state.kind);
  if (!stats || !rows.length) return missing(stage, NOTHING);
  const metrics = Object.keys(stats.metrics).filter((name) => rows.some((row) => typeof row[name] === "number"));
  if (!metrics.length) return missing(stage, NOTHING);
  const metric = [state.metric, USUAL].find((name) => metrics.includes(name)) ?? metrics[0];
  const box = select(stage.host).append("div").attr("class", "numbers-view");
  const label = box.append("label").attr("class", "choice");
  label.append("span").text("measure");
  label
    .append("select")
    .attr("data-keep", "metric")
    .attr("name", "metric")
    .on("change", (event: Event) => store.change({ metric: (event.target as HTMLSelectElement).value }))
    .selectAll("option")
    .data(metrics)
    .join("option")
    .attr("value", (name) => name)
    .property("selected", (name) => name === metric)
    .text((name) => name.replaceAll("_", " "));
  const { question, unit, source } = stats.metrics[metric];
  box.append("p").attr("class", "question").text(`${question} (${unit}; ${source})`);
  const cells = cellsOf(rows, metric);
  const absent = { masked: false, undefined: cells.some((cell) => cell.value === null) };
  drawCells(box.append("div").attr("class", "cells").node() as HTMLDivElement, stage, cells);
  absentLegend(box.node() as HTMLDivElement, absent);
  drawTable(box.append("div").attr("class", "scroll").node() as HTMLDivElement, stage, rows, metrics);
  const layers = Math.max(...cells.map((cell) => cell.row)) + 1;
  const heads = Math.max(...cells.map((cell) => cell.column)) + 1;
  return {
    picture: {
      width: LABEL + heads * CELL,
      height: 2 * HIGH + layers * HIGH + legendHeight(absent),
      paint: (pen) => {
        paint(pen, cells, `${metric.replaceAll("_", " ")} (${unit})`);
        paintLegend(pen, absent, LABEL, 2 * HIGH + layers * HIGH + LEGEND_HIGH - 18);
      },
    },
    table: () => ({
      columns: ["kind", "layer", "head", ...metrics],
      rows: rows.map((row) => [row.kind, row.layer, row.head, ...metrics.map((name) => (row[name] ?? "") as number)]),
    }),
  };
}

interface Cell {
  layer: LayerName;
  head: HeadName;
  row: number;
  column: number;
  value: number | null;
  share: number;
}

function cellsOf(rows: HeadRow[], metric: string): Cell[] {
  const values = rows.map((row) => row[metric]).filter((value): value is number => typeof value === "number");
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const layers = [...new Set(rows.map((row) => row.layer))];
  return rows.map((row) => {
    const value = typeof row[metric] === "number" ? (row[metric] as number) : null;
    return {
      layer: row.layer as LayerName,
      head: row.head as HeadName,
      row: layers.indexOf(row.layer),
      column: rows.filter((other) => other.layer === row.layer).indexOf(row),
      value,
      share: value === null ? 0 : (value - least) / (most - least || 1),
    };
  });
}

function drawCells(host: HTMLDivElement, stage: Stage, cells: Cell[]): void {
  const box = select(host);
  headNames(box, cells, LABEL, `minmax(30px, ${MOST_CELL}px)`);
  let row = -1;
  for (const cell of cells) {
    if (cell.row !== row) {
      row = cell.row;
      layerName(box, cell.layer);
    }
    const text = cell.value === null ? "undefined" : String(cell.value);
    box
      .append("button")
      .attr("type", "button")
      .attr("class", cell.value === null ? "cell undefined" : "cell")
      .attr("data-keep", `cell-${cell.layer}-${cell.head}`)
      .attr("data-layer", cell.layer)
      .attr("data-head", cell.head)
      .attr("title", `layer ${cell.layer}, head ${cell.head}: ${text}`)
      .style("background", cell.value === null ? "" : viridis(cell.share))
      .style("color", cell.value === null ? themed("ink") : ink(cell.share))
      .text(short(cell.value))
      .on("click", () => openHead(stage, cell.layer, cell.head));
  }
}

function openHead({ store }: Stage, layer: LayerName, head: HeadName): void {
  store.change({ layer, head, heads: null, view: "head" });
}

/** Draws the table, sorted by the column that was clicked last. */
function drawTable(host: HTMLElement, stage: Stage, rows: HeadRow[], metrics: string[]): void {
  const columns = ["layer", "head", ...metrics];
  let [by, down] = ["layer", false];
  const table = select(host).append("table");
  const head = table.append("thead").append("tr").selectAll("th").data(columns).join("th").attr("scope", "col");
  const names = head
    .append("button")
    .attr("type", "button")
    .text((name) => name.replaceAll("_", " "));
  const body = table.append("tbody");
  names.on("click", (_, name) => {
    [by, down] = [name, by === name ? !down : metrics.includes(name)];
    fill();
  });
  function fill(): void {
    head.attr("aria-sort", (name) => (name === by ? (down ? "descending" : "ascending") : "none"));
    const sorted = [...rows].sort((a, b) => (down ? descending : ascending)(a[by] ?? undefined, b[by] ?? undefined));
    const line = body
      .selectAll<HTMLTableRowElement, HeadRow>("tr")
      .data(sorted, (row) => `${row.layer} ${row.head}`)
      .join("tr")
      .order()
      .attr("data-layer", (row) => row.layer)
      .attr("data-head", (row) => row.head);
    const cell = line
      .selectAll("td")
      .data((row) => columns.map((name) => ({ row, name })))
      .join("td");
    cell.filter(({ name }) => name !== "head").text(({ row, name }) => shown(row[name]));
    cell
      .filter(({ name }) => name === "head")
      .selectAll("button")
      .data(({ row }) => [row])
      .join("button")
      .attr("type", "button")
      .attr("aria-label", (row) => `open layer ${row.layer}, head ${row.head}`)
      .text((row) => row.head)
      .on("click", (_, row) => openHead(stage, row.layer as LayerName, row.head as HeadName));
  }
  fill();
}

function shown(value: HeadRow[string]): string {
  return typeof value === "number" && !Number.isInteger(value) ? short(value) : String(value ?? "");
}

function short(value: number | null): string {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.005 || size >= 1000) ? value.toExponential(0) : value.toFixed(size < 10 ? 2 : 1);
}

function paint(pen: Pen, cells: Cell[], title: string): void {
  const look = { size: 11, anchor: "middle" } as const;
  pen.text(0, HIGH / 2, title, { size: 12, fill: themed("ink"), bold: true });
  for (const { layer, head, row, column, value, share } of cells) {
    const [x, y] = [LABEL + column * CELL, 2 * HIGH + row * HIGH];
    if (row === 0) pen.text(x + CELL / 2, 1.5 * HIGH, String(head), { ...look, fill: themed("ink") });
    if (column === 0) pen.text(LABEL / 2, y + HIGH / 2, String(layer), { ...look, fill: themed("ink") });
    if (value === null) hatch(pen, x, y, CELL - 2, HIGH - 2);
    else pen.rect(x, y, CELL - 2, HIGH - 2, viridis(share));
    pen.text(x + CELL / 2 - 1, y + HIGH / 2 - 1, short(value), {
      ...look,
      fill: value === null ? themed("ink") : ink(share),
    });
  }
}
