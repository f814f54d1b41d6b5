// Matrix view: the whole map on a canvas, with zoom, pan and a crosshair that reads the exact weight.
import { pointer, select } from "d3-selection";
import { type ZoomTransform, zoom, zoomIdentity } from "d3-zoom";
import { DECADES, shares, themed, viridis, viridisPixel } from "../colour";
import type { Drawing, Stage, Table } from "../drawing";
import { type Grid, largest } from "../maps";
import { type Pen, sized } from "../pen";
import type { State } from "../state";
import { weight } from "./tokens";

const LABELS = 110;
const BAR = 64;
const LEAST_LABEL = 9;
/** Past so many tokens colours are logarithmic, as in the pictures of `attncli heatmap`. */
const LINEAR_UP_TO = 256;

export function isLog(state: State, map: Grid): boolean {
  return state.scale === "log" || (state.scale === "auto" && Math.max(map.rows, map.columns) > LINEAR_UP_TO);
}

/** A map as pixels, one for each cell; what cannot be seen is left clear. */
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

interface Plot {
  map: Grid;
  cells: HTMLCanvasElement;
  queries: string[];
  keys: string[];
  size: number;
  log: boolean;
  top: number;
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
    .attr("role", "application")
    .attr("aria-label", "map of attention: arrow keys with Shift move the crosshair, plus and minus zoom")
    .node() as HTMLCanvasElement;
  const readout = select(box).append("p").attr("class", "readout").attr("data-readout", "");
  const width = plot.size + LABELS + BAR;
  const height = plot.size + LABELS;
  let view: ZoomTransform = zoomIdentity;
  let at: [number, number] | null = crosshair(state, maps.cell);

  function refresh(): void {
    const pen = sized(canvas, width, height, devicePixelRatio);
    paint(pen, plot, view, at);
    const said = at ? sentence(plot, at) : "point at a cell to read its weight; scroll to zoom, drag to move";
    readout.text(said);
    if (at) stage.say(said);
  }

  const zooming = zoom<HTMLCanvasElement, unknown>()
    .scaleExtent([1, Math.max(1, plot.size / 8 / 4, Math.max(map.rows, map.columns) / 8)])
    .extent([
      [0, 0],
      [plot.size, plot.size],
    ])
    .translateExtent([
      [0, 0],
      [plot.size, plot.size],
    ])
    .on("zoom", ({ transform }) => {
      view = transform;
      requestAnimationFrame(refresh);
    });
  select(canvas)
    .call(zooming)
    .on("pointermove", (event: PointerEvent) => {
      const [x, y] = pointer(event, canvas);
      at = cellAt(plot, view, x - LABELS, y - LABELS) ?? crosshair(state, maps.cell);
      requestAnimationFrame(refresh);
    })
    .on("pointerleave", () => {
      at = crosshair(state, maps.cell);
      requestAnimationFrame(refresh);
    })
    .on("click", () => {
      if (at) store.change({ query: at[0] * maps.cell[0], key: at[1] * maps.cell[1] });
    })
    .on("keydown", (event: KeyboardEvent) => {
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
      if (factor) select(canvas).call(zooming.scaleBy, factor);
    });
  refresh();

  return {
    picture: { width, height, paint: (pen) => paint(pen, plot, view, crosshair(state, maps.cell)) },
    table: () => tableOf(stage, plot),
  };
}

function plotOf(stage: Stage, map: Grid): Plot {
  const { run, state } = stage;
  const maps = run.maps(state);
  const starts = (labels: string[], cell: number) => labels.filter((_, at) => at % cell === 0);
  const log = isLog(state, map);
  const top = largest(map.weights);
  const room = Math.min(stage.host.clientWidth - LABELS - BAR, 760);
  return {
    map,
    cells: pixels(map, shares(top, log)),
    queries: starts(run.axis(state, "queries").labels, maps.cell[0]),
    keys: starts(run.axis(state, "keys").labels, maps.cell[1]),
    size: Math.max(160, room),
    log,
    top,
  };
}

function crosshair(state: State, cell: readonly number[]): [number, number] | null {
  if (state.query === null || state.key === null) return null;
  return [Math.floor(state.query / cell[0]), Math.floor(state.key / cell[1])];
}

function cellAt({ map, size }: Plot, view: ZoomTransform, x: number, y: number): [number, number] | null {
  if (x < 0 || y < 0 || x >= size || y >= size) return null;
  const row = Math.floor((view.invertY(y) / size) * map.rows);
  const column = Math.floor((view.invertX(x) / size) * map.columns);
  return row < map.rows && column < map.columns ? [row, column] : null;
}

function paint(pen: Pen, plot: Plot, view: ZoomTransform, at: [number, number] | null): void {
  const { map, size, cells } = plot;
  const [wide, high] = [(view.k * size) / map.columns, (view.k * size) / map.rows];
  const x = (column: number) => LABELS + view.x + column * wide;
  const y = (row: number) => LABELS + view.y + row * high;
  pen.rect(LABELS, LABELS, size, size, themed("unseen"));
  pen.image(x(0), y(0), view.k * size, view.k * size, cells);
  // what zooming pushed out of the square
  pen.rect(0, 0, LABELS, LABELS + size, themed("ground"));
  pen.rect(0, 0, LABELS + size + BAR, LABELS, themed("ground"));
  pen.rect(LABELS + size, 0, BAR, LABELS + size, themed("ground"));
  const inside = (place: number) => place > LABELS && place < LABELS + size;
  const look = { size: Math.min(12, Math.max(LEAST_LABEL, high * 0.8)), fill: themed("ink") };
  eachLabel(plot.queries, high, (label, row) => {
    const middle = y(row + 0.5);
    if (inside(middle)) pen.text(LABELS - 6, middle, label, { ...look, anchor: "end", bold: at?.[0] === row });
  });
  const across = { ...look, size: Math.min(12, Math.max(LEAST_LABEL, wide * 0.8)), turn: -90 };
  eachLabel(plot.keys, wide, (label, column) => {
    const middle = x(column + 0.5);
    if (inside(middle)) pen.text(middle, LABELS - 6, label, { ...across, bold: at?.[1] === column });
  });
  if (at) {
    const clamp = (place: number) => Math.max(LABELS, Math.min(LABELS + size, place));
    for (const row of [at[0], at[0] + 1]) pen.line([LABELS, clamp(y(row))], [LABELS + size, clamp(y(row))], "#fff");
    for (const column of [at[1], at[1] + 1]) {
      pen.line([clamp(x(column)), LABELS], [clamp(x(column)), LABELS + size], "#fff");
    }
  }
  paintBar(pen, plot);
}

/** Labels as dense as they can be read: every one, or every second, fifth, tenth, … */
function eachLabel(labels: string[], step: number, draw: (label: string, at: number) => void): void {
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((each) => each * step >= LEAST_LABEL + 1) ?? 5000;
  labels.forEach((label, at) => {
    if (at % every === 0) draw(every === 1 ? label : `${label} ${at}`, at);
  });
}

/** The colour bar with its ends and the unit. */
function paintBar(pen: Pen, { size, log, top }: Plot): void {
  const left = LABELS + size + 14;
  const steps = 64;
  for (let step = 0; step < steps; step++) {
    const from = LABELS + size - ((step + 1) * size) / steps;
    pen.rect(left, from, 12, size / steps + 0.5, viridis(step / (steps - 1)));
  }
  const look = { size: 11, fill: themed("ink") };
  const bottom = log ? `≤ ${weight(top / 10 ** DECADES)}` : "0";
  pen.text(left, LABELS - 10, weight(top), look);
  pen.text(left, LABELS + size - 6 + 14, bottom, look);
  pen.text(left + 22, LABELS + size / 2, log ? "weight, logarithmic" : "weight", {
    ...look,
    anchor: "middle",
    turn: -90,
  });
}

function sentence({ map, queries, keys }: Plot, [row, column]: [number, number]): string {
  const value = map.weights[row * map.columns + column];
  const said = Number.isNaN(value) ? "nothing: it may not be seen" : value.toPrecision(3);
  return `${queries[row]} (${row}) → ${keys[column]} (${column}): ${said}`;
}

function tableOf({ state }: Stage, { map, queries, keys }: Plot): Table {
  const rows: Table["rows"] = [];
  map.weights.forEach((value, at) => {
    if (Number.isNaN(value)) return;
    const [row, column] = [Math.floor(at / map.columns), at % map.columns];
    rows.push([state.kind, state.layer, state.head, row, column, queries[row], keys[column], value]);
  });
  return { columns: ["kind", "layer", "head", "query", "key", "query_token", "key_token", "weight"], rows };
}
