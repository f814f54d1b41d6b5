// All heads: a small map of each layer x head; a click opens it.
import { type Selection, select } from "d3-selection";
import { bytesOf, themed } from "../colour";
import { inTurn } from "../turns";
import { headNames, layerName, mapSide } from "../ui/grid";
import { heightFrom, widthInside } from "../ui/page";
import { isDark } from "../ui/theme";
import { type Colouring, colouringOf, type Legend } from "./colours";
import { drawLegend } from "./legend";
import { frameOf } from "./maps";
import type { State } from "./state";
import { drawnOrder, type QkView, type Stage, short, standingOut } from "./view";

const LABEL = 30;
const SIZES = { label: LABEL, gap: 4, below: 16, least: 18, usual: 96, most: 200 };
/** Smallest side of a map with its number below it. */
const NUMBERED = 40;
/** Opacity of points that do not stand out, where some do. */
const DIM = 40;
const SOLID = 230;
/** Milliseconds of drawing before the page handles other events: more than a frame, as a head takes few of them. */
const SLICE_MS = 40;
/** Pixels of the legend, the caption and the status line. */
const AROUND = 120;

interface Thumb {
  head: string;
  canvas: HTMLCanvasElement;
}

export function matrixView(stage: Stage): QkView {
  const box = select(stage.host).append("div").attr("class", "heads-view");
  const legend = box.append("div").attr("class", "legend").node() as HTMLElement;
  const grid = box.append("div").attr("class", "cells");
  const caption = box.append("p").attr("class", "caption");
  let thumbs: Thumb[] = [];
  let drawn = "";
  let side = 0;
  let stop = () => {};

  return {
    update(state) {
      stop();
      const wanted = `${state.kind} ${stage.host.clientWidth} ${innerHeight}`;
      if (wanted !== drawn) {
        drawn = wanted;
        const { layers } = stage.maps.kind(state);
        const places = layers.flatMap(({ heads }) => heads.map(({ head }, column) => ({ head, column })));
        const columns = Math.max(...places.map(({ column }) => column)) + 1;
        const room = { width: widthInside(stage.host), height: heightFrom(stage.host) - AROUND };
        side = mapSide(room, layers.length, columns, SIZES);
        grid.selectAll("*").remove();
        headNames(grid, places, LABEL, `${side}px`);
        thumbs = drawMaps(grid, stage, state, side);
        caption.text(captionOf(stage, state));
      }
      const dark = isDark(state);
      const first = colouringOf(stage.maps, { ...state, head: thumbs[0].head }, dark);
      drawLegend(legend, state.color === "norm" ? ofEachHead(first.legend) : first.legend);
      const out = standingOut(stage, state);
      const order = drawnOrder(stage, state, out);
      delete document.body.dataset.painted;
      const tasks = thumbs.map(({ head, canvas }) => () => {
        const ofHead = { ...state, head };
        const colouring = state.color === "norm" ? colouringOf(stage.maps, ofHead, dark) : first;
        paint(canvas, stage.maps.map(ofHead).points, colouring, { side, order, out });
      });
      stop = inTurn(
        [
          ...tasks,
          () => {
            document.body.dataset.painted = state.kind;
          },
        ],
        SLICE_MS,
      );
      stage.announce(
        out ? `${out.size} of ${stage.maps.table(state).count} points stand out` : "click a head to open it",
      );
    },
    end: () => stop(),
  };
}

function captionOf({ maps }: Stage, state: State): string {
  const { numbers } = maps.quality({ ...state, head: maps.names(state)[0] });
  const number = numbers.length ? ` The number below a map: ${numbers[0].name}.` : "";
  return `Each map is laid out by itself: only near and far within one map mean something. Faded: maps in which near says little about attention.${number}`;
}

/** Adds the small maps of all heads, not yet drawn. */
function drawMaps(
  grid: Selection<HTMLDivElement, unknown, null, undefined>,
  { maps, store }: Stage,
  state: State,
  side: number,
): Thumb[] {
  const thumbs: Thumb[] = [];
  for (const { layer, heads } of maps.kind(state).layers) {
    layerName(grid, layer);
    for (const { head, verdict, numbers, true: isTrue } of heads) {
      const name = `${layer}.${head}`;
      const number = short(numbers[0]?.map ?? null);
      const about = `head ${name}${numbers.length ? `, ${numbers[0].name} ${number}` : ""}: ${verdict}`;
      const button = grid
        .append("button")
        .attr("type", "button")
        .attr("class", `small-map${isTrue ? "" : " poor"}`)
        .attr("data-head", name)
        .attr("aria-label", about)
        .attr("title", about)
        .on("click", () => store.change({ head: name }));
      const canvas = button.append("canvas").node() as HTMLCanvasElement;
      canvas.style.width = canvas.style.height = `${side}px`;
      if (numbers.length && side >= NUMBERED) button.append("span").attr("class", "count").text(number);
      thumbs.push({ head: name, canvas });
    }
  }
  return thumbs;
}

/** Returns the legend of norms, whose scale is that of each head. */
function ofEachHead(legend: Legend): Legend {
  const { scale } = legend;
  return { ...legend, scale: scale && { ...scale, low: "smallest of each head", high: "largest" } };
}

interface Look {
  side: number;
  order: readonly number[];
  out: ReadonlySet<number> | null;
}

/** Draws the points of a head as squares of one or more pixels. */
function paint(
  canvas: HTMLCanvasElement,
  points: Float32Array,
  { palette, at }: Colouring,
  { side, order, out }: Look,
): void {
  const pixels = Math.max(1, Math.round(side * devicePixelRatio));
  canvas.width = canvas.height = pixels;
  const bytes = palette.map(bytesOf);
  const ground = bytesOf(themed("panel"));
  const [dim, solid] = [DIM, SOLID].map((opacity) =>
    Uint32Array.from(bytes, (colour) => pixel(colour, ground, opacity)),
  );
  const image = new ImageData(pixels, pixels);
  const data = new Uint32Array(image.data.buffer).fill(pixel(ground, ground, 255));
  const { centre, half } = frameOf(points);
  const dot = pixels >= 120 ? 3 : pixels >= 50 ? 2 : 1;
  const scale = (pixels - dot - 2) / 2 / half;
  for (const point of order) {
    const bright = out?.has(point);
    const colour = (out && !bright ? dim : solid)[at[point]];
    const size = bright ? dot + 1 : dot;
    const left = Math.round((points[2 * point] - centre[0]) * scale + (pixels - size) / 2);
    const top = Math.round((centre[1] - points[2 * point + 1]) * scale + (pixels - size) / 2);
    const [right, bottom] = [Math.min(pixels, left + size), Math.min(pixels, top + size)];
    for (let y = Math.max(0, top); y < bottom; y++) {
      for (let x = Math.max(0, left); x < right; x++) data[y * pixels + x] = colour;
    }
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** Returns a colour over the ground as a pixel of a canvas: four bytes in one number. */
function pixel(colour: readonly number[], ground: readonly number[], opacity: number): number {
  const [red, green, blue] = colour.map((part, at) => Math.round(ground[at] + ((part - ground[at]) * opacity) / 255));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
