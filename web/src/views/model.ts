// Model view: a thumbnail of every layer x head; a click opens it.
import { select } from "d3-selection";
import { shares, themed } from "../colour";
import type { Drawing, Stage, Table } from "../drawing";
import { type Grid, largest } from "../maps";
import type { Pen } from "../pen";
import type { HeadName, LayerName } from "../state";
import { isLog, pixels } from "./matrix";

const LABEL = 34;
const GAP = 6;
/** Milliseconds of drawing before the page handles other events. */
const FRAME_MS = 12;

interface Place {
  layer: LayerName;
  head: HeadName;
  row: number;
  column: number;
}

export function modelView(stage: Stage): Drawing {
  const { run, store, state } = stage;
  const places = placesOf(stage);
  const columns = Math.max(...places.map((place) => place.column)) + 1;
  const side = Math.max(26, Math.min(96, Math.floor((stage.width - LABEL) / columns) - GAP));
  const box = select(stage.host)
    .append("div")
    .attr("class", "model-view")
    .style("grid-template-columns", `${LABEL}px repeat(${columns}, ${side}px)`);
  box.append("span").attr("class", "corner").attr("aria-hidden", "true").text("L \\ H");
  for (let column = 0; column < columns; column++) box.append("span").attr("class", "number").text(column);
  let row = -1;
  const waiting: (() => void)[] = [];
  for (const place of places) {
    if (place.row !== row) {
      row = place.row;
      box.append("span").attr("class", "number").style("grid-column", "1").text(place.layer);
    }
    const name = `layer ${place.layer}, head ${place.head}`;
    const thumb = box
      .append("button")
      .attr("type", "button")
      .attr("class", "thumb")
      .attr("data-keep", `thumb-${place.layer}-${place.head}`)
      .attr("data-layer", place.layer)
      .attr("data-head", place.head)
      .attr("aria-label", name)
      .attr("aria-current", String(place.layer === state.layer && place.head === state.head))
      .attr("title", name)
      .on("click", () => store.change({ layer: place.layer, head: place.head, heads: null, view: "matrix" }));
    const canvas = thumb.append("canvas").node() as HTMLCanvasElement;
    waiting.push(() => thumbnail(canvas, picture(stage, run.grid(state, place.layer, place.head)), side));
  }
  box
    .append("p")
    .attr("class", "caption")
    .text("Each map has its own scale: the brightest cell is its largest weight.");
  const stop = inTurn(waiting);

  const width = LABEL + columns * (side + GAP);
  const height = LABEL + (Math.max(...places.map((place) => place.row)) + 1) * (side + GAP);
  return {
    picture: { width, height, paint: (pen) => paint(pen, stage, places, side) },
    table: () => tableOf(stage, places),
    end: stop,
  };
}

function placesOf({ run, state }: Stage): Place[] {
  return run.maps(state).layers.flatMap(({ layer, heads }, row) => {
    const names: HeadName[] = heads.length ? heads : ["mean"];
    return names.map((head, column) => ({ layer, head, row, column }));
  });
}

function picture(stage: Stage, map: Grid): HTMLCanvasElement {
  return pixels(map, shares(largest(map.weights), isLog(stage)));
}

function thumbnail(canvas: HTMLCanvasElement, cells: HTMLCanvasElement, side: number): void {
  const pixel = Math.round(side * devicePixelRatio);
  canvas.width = pixel;
  canvas.height = pixel;
  canvas.style.width = `${side}px`;
  canvas.style.height = `${side}px`;
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  context.imageSmoothingEnabled = cells.width > pixel;
  context.imageSmoothingQuality = "high";
  context.drawImage(cells, 0, 0, pixel, pixel);
}

/** Runs the tasks in slices with a frame between them; returns a function that stops them. */
function inTurn(waiting: (() => void)[]): () => void {
  let next = 0;
  let stopped = false;
  const slice = () => {
    const start = performance.now();
    while (!stopped && next < waiting.length && performance.now() - start < FRAME_MS) waiting[next++]();
    if (!stopped && next < waiting.length) requestAnimationFrame(slice);
  };
  slice();
  return () => {
    stopped = true;
  };
}

function paint(pen: Pen, stage: Stage, places: Place[], side: number): void {
  const look = { size: 11, fill: themed("ink"), anchor: "middle" } as const;
  for (const { layer, head, row, column } of places) {
    const [x, y] = [LABEL + column * (side + GAP), LABEL + row * (side + GAP)];
    if (row === 0) pen.text(x + side / 2, LABEL / 2, String(head), look);
    if (column === 0) pen.text(LABEL / 2, y + side / 2, String(layer), look);
    pen.rect(x, y, side, side, themed("unseen"));
    pen.image(x, y, side, side, picture(stage, stage.run.grid(stage.state, layer, head)));
  }
}

function tableOf({ run, state }: Stage, places: Place[]): Table {
  const [queries, keys] = [run.axis(state, "queries").labels, run.axis(state, "keys").labels];
  const { cell } = run.maps(state);
  const rows = places.map(({ layer, head }) => {
    const map = run.grid(state, layer, head);
    const top = largest(map.weights);
    const at = map.weights.indexOf(top);
    const [query, key] = [Math.floor(at / map.columns) * cell[0], (at % map.columns) * cell[1]];
    return [state.kind, layer, head, top, query, key, queries[query] ?? "", keys[key] ?? ""];
  });
  return { columns: ["kind", "layer", "head", "largest", "query", "key", "query_token", "key_token"], rows };
}
