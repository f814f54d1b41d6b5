// Matrix view: the map on a canvas, with zoom, pan and a crosshair that shows the weight of a cell.
import { pointer, select } from "d3-selection";
import { type ZoomTransform, zoom, zoomIdentity } from "d3-zoom";
import { isolated } from "../cells";
import { DECADES, shares, themed, viridis, viridisPixel } from "../colour";
import { PAIR_COLUMNS, pairNames } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import { type Grid, isUndefined, largest } from "../maps";
import { type Pen, sized } from "../pen";
import type { State } from "../state";
import { oncePerFrame } from "../turns";
import { type Absent, absentOf, hatch, LEGEND_HIGH, legendHeight, paintLegend, undefinedRows } from "./absent";
import { largestAt, type Ranked, rankedList } from "./ranked";
import { weight } from "./tokens";

/** Pixels of the list of the largest weights, and of a window that has room for it at the right of the map. */
const LIST = 300;
const WIDE = 900;
const LEAST_MARGIN = 40;
const MOST_MARGIN = 150;
const BAR = 64;
const MOST_SIZE = 1200;
const LEAST_LABEL = 9;
/** Number of tokens above which colours are logarithmic, as in the pictures of `attncli heatmap`. */
const LINEAR_UP_TO = 256;

export function isLog({ run, state }: Stage): boolean {
  const tokens = Math.max(run.axis(state, "queries").labels.length, run.axis(state, "keys").labels.length);
  return state.scale === "log" || (state.scale === "auto" && tokens > LINEAR_UP_TO);
}

/** Returns a map as pixels, one for each cell; cells without a weight are transparent. */
export function pixels(map: Grid, share: (weight: number) => number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = map.columns;
  canvas.height = map.rows;
  const image = new ImageData(map.columns, map.rows);
  const cells = new Uint32Array(image.data.buffer);
  for (let at = 0; at < cells.length; at++) {
    const weight = map.weights[at];
    if (!Number.isNaN(weight)) cells[at] = viridisPixel(share(weight));
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

interface Label {
  text: string;
  numbered: string;
  place: string;
}

/** The zoom of the last map, kept so that other heads of the same text are shown in the same window. */
let zoomed = { name: "", view: zoomIdentity };

interface Plot {
  map: Grid;
  cells: HTMLCanvasElement;
  queries: Label[];
  keys: Label[];
  /** Pixels for labels, left and above. */
  margin: number;
  size: number;
  log: boolean;
  top: number;
  absent: Absent;
}

export function matrixView(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const maps = run.maps(state);
  const map = run.grid(state);
  const plot = plotOf(stage, map);
  const box = select(stage.host).append("div").attr("class", "matrix-view").node() as HTMLDivElement;
  const canvas = select(box)
    .append("canvas")
    .attr("tabindex", 0)
    .attr("data-keep", "matrix")
    .attr("data-margin", plot.margin)
    .attr("data-size", plot.size)
    .attr("role", "application")
    .attr("aria-label", "map of attention: j, k, J and K move the crosshair, plus and minus zoom")
    .node() as HTMLCanvasElement;
  const { margin } = plot;
  const width = plot.size + margin + BAR;
  const height = plot.size + margin + legendHeight(plot.absent);
  const square: [[number, number], [number, number]] = [
    [margin, margin],
    [margin + plot.size, margin + plot.size],
  ];
  const name = [state.text, state.kind, map.rows, map.columns, plot.size].join(" ");
  let view = zoomed.name === name ? zoomed.view : zoomIdentity;
  let at: [number, number] | null = crosshair(state, maps.cell);

  const clear = sized(canvas, width, height, devicePixelRatio);

  const draw = () => {
    paint(clear(), plot, view, at);
    stage.announce(at ? sentence(plot, at) : "point at a cell to see its weight; scroll to zoom, drag to move");
  };
  const refresh = oncePerFrame(draw);

  const zooming = zoom<HTMLCanvasElement, unknown>()
    .scaleExtent([1, Math.max(1, plot.size / 8 / 4, Math.max(map.rows, map.columns) / 8)])
    .extent(square)
    .translateExtent(square)
    .on("zoom", ({ transform }) => {
      view = transform;
      zoomed = { name, view };
      refresh();
    });
  select(canvas)
    .call(zooming)
    .call(zooming.transform, view)
    .on("pointermove", (event: PointerEvent) => {
      const [x, y] = pointer(event, canvas);
      at = cellAt(plot, view, x, y) ?? crosshair(state, maps.cell);
      refresh();
    })
    .on("pointerleave", () => {
      at = crosshair(state, maps.cell);
      refresh();
    })
    .on("click", () => {
      if (at) store.change({ query: at[0] * maps.cell[0], key: at[1] * maps.cell[1] });
    })
    .on("keydown", (event: KeyboardEvent) => {
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
      if (factor) select(canvas).call(zooming.scaleBy, factor);
    });
  draw();
  rankedList(box, "largest weights of this map", ranked(stage, plot));

  return {
    picture: { width, height, paint: (pen) => paint(pen, plot, view, crosshair(state, maps.cell)) },
    table: () => tableOf(stage, plot),
  };
}

/** Returns the largest weights of a map; a click moves the crosshair to one. */
function ranked({ run, store, state }: Stage, { map, queries, keys }: Plot): Ranked[] {
  const { cell } = run.maps(state);
  const chosen = crosshair(state, cell);
  return largestAt(map.weights).map((at) => {
    const [row, column] = [Math.floor(at / map.columns), at % map.columns];
    return {
      name: `${isolated(queries[row].text)} → ${isolated(keys[column].text)}`,
      weight: map.weights[at],
      chosen: chosen?.[0] === row && chosen[1] === column,
      pick: () => store.change({ query: row * cell[0], key: column * cell[1] }),
    };
  });
}

function plotOf(stage: Stage, map: Grid): Plot {
  const { run, state } = stage;
  const maps = run.maps(state);
  const [queries, keys] = (["queries", "keys"] as const).map((which, axis) =>
    cellLabels(run.axis(state, which).labels, maps.cell[axis], maps.window?.[axis][0] ?? 0),
  );
  const log = isLog(stage);
  const top = largest(map.weights);
  const margin = Math.max(LEAST_MARGIN, ...[...queries, ...keys].map((label) => wide(label.numbered)));
  const absent = absentOf(map, state);
  const list = stage.width < WIDE ? 0 : LIST;
  const room = Math.min(stage.width - margin - BAR - list, stage.height - margin - legendHeight(absent), MOST_SIZE);
  return {
    map,
    cells: pixels(map, shares(top, log)),
    queries,
    keys,
    margin,
    size: Math.max(180, room),
    log,
    top,
    absent,
  };
}

/** Returns the labels of rows or columns; a cell of several tokens has the label of the first and all positions. */
function cellLabels(labels: string[], cell: number, first: number): Label[] {
  const starts = [...labels.keys()].filter((at) => at % cell === 0);
  return starts.map((at) => {
    const last = Math.min(at + cell, labels.length) - 1;
    const place = cell === 1 ? `${first + at}` : `${first + at}–${first + last}`;
    return { text: labels[at], numbered: `${labels[at]} ${first + at}`, place };
  });
}

/** Returns about how many pixels a label needs. */
function wide(label: string): number {
  return Math.min(MOST_MARGIN, 14 + 7 * label.length);
}

function crosshair(state: State, cell: readonly number[]): [number, number] | null {
  if (state.query === null && state.key === null) return null;
  return [Math.floor((state.query ?? 0) / cell[0]), Math.floor((state.key ?? 0) / cell[1])];
}

function cellAt({ map, size, margin }: Plot, view: ZoomTransform, x: number, y: number): [number, number] | null {
  if (Math.min(x, y) < margin || Math.max(x, y) >= margin + size) return null;
  const row = Math.floor(((view.invertY(y) - margin) / size) * map.rows);
  const column = Math.floor(((view.invertX(x) - margin) / size) * map.columns);
  return row < map.rows && column < map.columns ? [row, column] : null;
}

function paint(pen: Pen, plot: Plot, view: ZoomTransform, at: [number, number] | null): void {
  const { map, size, cells, margin } = plot;
  const [wide, high] = [(view.k * size) / map.columns, (view.k * size) / map.rows];
  const x = (column: number) => view.applyX(margin) + column * wide;
  const y = (row: number) => view.applyY(margin) + row * high;
  pen.rect(margin, margin, size, size, themed("unseen"));
  pen.image(x(0), y(0), view.k * size, view.k * size, cells);
  for (const [first, end] of undefinedRows(map)) {
    const [top, bottom] = [y(first), y(end)].map((place) => Math.max(margin, Math.min(margin + size, place)));
    hatch(pen, margin, top, size, bottom - top);
  }
  // covers the cells that zooming moved out of the square
  pen.rect(0, 0, margin, margin + size, themed("ground"));
  pen.rect(0, 0, margin + size + BAR, margin, themed("ground"));
  pen.rect(margin + size, 0, BAR, margin + size, themed("ground"));
  const inside = (place: number) => place > margin && place < margin + size;
  const look = { size: Math.min(12, Math.max(LEAST_LABEL, high * 0.8)), fill: themed("ink") };
  eachLabel(plot.queries, high, (label, row) => {
    const middle = y(row + 0.5);
    if (inside(middle)) pen.text(margin - 6, middle, label, { ...look, anchor: "end", bold: at?.[0] === row });
  });
  const across = { ...look, size: Math.min(12, Math.max(LEAST_LABEL, wide * 0.8)), turn: -90 };
  eachLabel(plot.keys, wide, (label, column) => {
    const middle = x(column + 0.5);
    if (inside(middle)) pen.text(middle, margin - 6, label, { ...across, bold: at?.[1] === column });
  });
  const clamp = (place: number) => Math.max(margin, Math.min(margin + size, place));
  if (at) {
    for (const row of [at[0], at[0] + 1]) pen.line([margin, clamp(y(row))], [margin + size, clamp(y(row))], "#fff", 3);
    for (const column of [at[1], at[1] + 1]) {
      pen.line([clamp(x(column)), margin], [clamp(x(column)), margin + size], "#fff", 3);
    }
  }
  paintBar(pen, plot);
  paintLegend(pen, plot.absent, margin, margin + size + LEGEND_HIGH - 14);
}

/** Draws as many labels as are readable: every one, or every second, fifth, tenth, … */
function eachLabel(labels: Label[], step: number, draw: (label: string, at: number) => void): void {
  const every =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((count) => count * step >= LEAST_LABEL + 1) ?? 5000;
  labels.forEach((label, at) => {
    if (at % every === 0) draw(every === 1 ? label.text : label.numbered, at);
  });
}

/** Draws the colour bar with its ends and the unit. */
function paintBar(pen: Pen, { size, margin, log, top }: Plot): void {
  const left = margin + size + 14;
  const steps = 64;
  for (let step = 0; step < steps; step++) {
    const from = margin + size - ((step + 1) * size) / steps;
    pen.rect(left, from, 12, size / steps + 0.5, viridis(step / (steps - 1)));
  }
  const look = { size: 11, fill: themed("ink") };
  const bottom = log ? `≤ ${weight(top / 10 ** DECADES)}` : "0";
  pen.text(left, margin - 10, weight(top), look);
  pen.text(left, margin + size - 6 + 14, bottom, look);
  pen.text(left + 22, margin + size / 2, log ? "weight, logarithmic" : "weight", {
    ...look,
    anchor: "middle",
    turn: -90,
  });
}

function sentence({ map, queries, keys }: Plot, [row, column]: [number, number]): string {
  const value = map.weights[row * map.columns + column];
  const without = isUndefined(map, row) ? "undefined, this query has no weights" : "masked, or left out";
  const text = Number.isNaN(value) ? without : value.toPrecision(3);
  const [from, to] = [queries[row], keys[column]];
  return `${isolated(from.text)} (${from.place}) → ${isolated(to.text)} (${to.place}): ${text}`;
}

/** Returns a row per weight; a pooled cell is named by its first query and key. */
function tableOf({ run, state }: Stage, { map }: Plot): Table {
  const names = pairNames(run, state);
  const { cell } = run.maps(state);
  const rows: Table["rows"] = [];
  map.weights.forEach((value, at) => {
    if (Number.isNaN(value)) return;
    const [query, key] = [Math.floor(at / map.columns) * cell[0], (at % map.columns) * cell[1]];
    rows.push([state.kind, state.layer, state.head, ...names(query, key), value]);
  });
  return { columns: ["kind", "layer", "head", ...PAIR_COLUMNS, "weight"], rows };
}
