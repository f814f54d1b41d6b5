// Model view: a thumbnail of every layer x head; a click opens it.
import { select } from "d3-selection";
import { shares, themed } from "../colour";
import { PAIR_COLUMNS, pairNames } from "../columns";
import type { Drawing, Stage, Table } from "../drawing";
import { type Grid, largest } from "../maps";
import { type Pen, sized } from "../pen";
import { combinedName } from "../run";
import type { HeadName, LayerName, State } from "../state";
import { inTurn } from "../turns";
import { headNames, layerName, mapSide } from "../ui/grid";
import { type Absent, absentLegend, absentOf, hatch, LEGEND_HIGH, paintLegend, undefinedRows } from "./absent";
import { isLog, pixels } from "./matrix";

const LABEL = 34;
const GAP = 4;
const SIZES = { label: LABEL, gap: GAP, below: 0, least: 16, usual: 120, most: 220 };

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
  const rows = Math.max(...places.map((place) => place.row)) + 1;
  const side = mapSide(stage, rows, columns, SIZES);
  const box = select(stage.host).append("div").attr("class", "model-view");
  headNames(box, places, LABEL, `${side}px`);
  let row = -1;
  const waiting: (() => void)[] = [];
  const absent: Absent = { masked: false, undefined: false };
  for (const place of places) {
    if (place.row !== row) {
      row = place.row;
      layerName(box, place.layer);
    }
    const name = `layer ${place.layer}, head ${place.head}`;
    const thumb = box
      .append("button")
      .attr("type", "button")
      .attr("class", "thumb")
      .style("height", `${side}px`)
      .attr("data-keep", `thumb-${place.layer}-${place.head}`)
      .attr("data-layer", place.layer)
      .attr("data-head", place.head)
      .attr("aria-label", name)
      .attr("aria-current", String(place.layer === state.layer && place.head === state.head))
      .attr("title", name)
      .on("click", () => store.change({ layer: place.layer, head: place.head, heads: null, view: "matrix" }));
    const canvas = thumb.append("canvas").node() as HTMLCanvasElement;
    waiting.push(() => {
      const map = run.grid(state, place.layer, place.head);
      paintMap(sized(canvas, side, side, devicePixelRatio)(), stage, map, [0, 0, side]);
      if (addAbsent(absent, map, state)) absentLegend(below, absent);
    });
  }
  const below = box.append("div").attr("class", "caption").node() as HTMLDivElement;
  select(below).append("p").text("Each map has its own scale: the brightest cell is its largest weight.");
  const stop = inTurn(waiting);

  const width = LABEL + columns * (side + GAP);
  const height = LABEL + rows * (side + GAP);
  return {
    picture: { width, height: height + LEGEND_HIGH, paint: (pen) => paint(pen, stage, places, side) },
    table: () => tableOf(stage, places),
    end: stop,
  };
}

function placesOf({ run, state }: Stage): Place[] {
  return run.maps(state).layers.flatMap(({ layer, heads }, row) => {
    const names: HeadName[] = heads.length ? heads : [combinedName(run.maps(state))];
    return names.map((head, column) => ({ layer, head, row, column }));
  });
}

/** Draws a map as a square; `place` is its left edge, its top and its side. */
function paintMap(pen: Pen, stage: Stage, map: Grid, [x, y, side]: [number, number, number]): void {
  pen.rect(x, y, side, side, themed("unseen"));
  pen.image(x, y, side, side, pixels(map, shares(largest(map.weights), isLog(stage))));
  const high = side / map.rows;
  for (const [first, end] of undefinedRows(map)) hatch(pen, x, y + first * high, side, (end - first) * high);
}

/** Adds what a map has no weights of; returns whether that is new. */
function addAbsent(absent: Absent, map: Grid, state: State): boolean {
  const [before, ofMap] = [{ ...absent }, absentOf(map, state)];
  absent.masked ||= ofMap.masked;
  absent.sinks = ofMap.sinks;
  absent.undefined ||= ofMap.undefined;
  return before.masked !== absent.masked || before.undefined !== absent.undefined;
}

function paint(pen: Pen, stage: Stage, places: Place[], side: number): void {
  const look = { size: 11, fill: themed("ink"), anchor: "middle" } as const;
  const absent: Absent = { masked: false, undefined: false };
  for (const { layer, head, row, column } of places) {
    const [x, y] = [LABEL + column * (side + GAP), LABEL + row * (side + GAP)];
    if (row === 0) pen.text(x + side / 2, LABEL / 2, String(head), look);
    if (column === 0) pen.text(LABEL / 2, y + side / 2, String(layer), look);
    const map = stage.run.grid(stage.state, layer, head);
    paintMap(pen, stage, map, [x, y, side]);
    addAbsent(absent, map, stage.state);
  }
  const rows = Math.max(...places.map((place) => place.row)) + 1;
  paintLegend(pen, absent, LABEL, LABEL + rows * (side + GAP) + LEGEND_HIGH - 18);
}

function tableOf({ run, state }: Stage, places: Place[]): Table {
  const names = pairNames(run, state);
  const { cell } = run.maps(state);
  const rows = places.map(({ layer, head }) => {
    const map = run.grid(state, layer, head);
    const top = largest(map.weights);
    const at = map.weights.indexOf(top);
    const [query, key] = [Math.floor(at / map.columns) * cell[0], (at % map.columns) * cell[1]];
    return [state.kind, layer, head, top, ...names(query, key)];
  });
  return { columns: ["kind", "layer", "head", "largest", ...PAIR_COLUMNS], rows };
}
