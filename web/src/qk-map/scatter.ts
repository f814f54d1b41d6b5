// The map of one head on a canvas: its points, the lines of one point, labels where there is room.
import { type ZoomTransform, zoomIdentity } from "d3-zoom";
import { themed } from "../colour";
import { FONT, sizedContext } from "../pen";
import type { Colouring } from "./colours";
import type { Outline } from "./found";
import { type Attended, frameOf } from "./maps";

const MARGIN = 24;
const RADIUS = 3.2;
const SMALL_RADIUS = 2.2;
const MOST_RADIUS = 7;
/** Number of points above which they are small and have no rim. */
const MANY = 5000;
const DIM = 0.13;
/** Pixels within which a point is pointed at. */
const REACH = 16;
/** Number of points in sight up to which all are labelled; and of those that stand out, if some do. */
const ALL_LABELLED = 90;
const OUT_LABELLED = 300;
const LABEL_SIZE = 11;

/** Everything that is drawn. */
export interface Scene {
  points: Float32Array;
  queries: number;
  order: readonly number[];
  out: ReadonlySet<number> | null;
  colouring: Colouring;
  /** The chosen point, and what it attends to or is attended by. */
  chosen: number | null;
  attended: readonly Attended[];
  outline: Outline;
  label(point: number): string;
}

/** The canvas: places of points on it, what is near the pointer, and its drawing. */
export class Scatter {
  view: ZoomTransform = zoomIdentity;
  private frame = { centre: [0, 0] as [number, number], half: 1 };
  private places: Float32Array = new Float32Array();
  private readonly context: CanvasRenderingContext2D;
  /** The points alone, drawn again only if they, their colours or the view change. */
  private readonly layer = document.createElement("canvas");
  private layerOf: readonly unknown[] = [];
  private width = 0;
  private height = 0;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d") as CanvasRenderingContext2D;
  }

  resize(width: number, height: number): void {
    [this.width, this.height] = [width, height];
    sizedContext(this.canvas, width, height, devicePixelRatio);
  }

  /** Sets the points; the view shows all of them where it is not zoomed. */
  frameAround(points: Float32Array): void {
    this.frame = frameOf(points);
  }

  /** Returns the place of a point of the map on the canvas. */
  private project(points: Float32Array): Float32Array {
    const { centre, half } = this.frame;
    const scale = (Math.min(this.width, this.height) / 2 - MARGIN) / half;
    const places = new Float32Array(points.length);
    for (let at = 0; at < points.length; at += 2) {
      places[at] = this.view.applyX(this.width / 2 + (points[at] - centre[0]) * scale);
      places[at + 1] = this.view.applyY(this.height / 2 - (points[at + 1] - centre[1]) * scale);
    }
    return places;
  }

  /** Returns where a point is drawn. */
  at(point: number): [number, number] {
    return [this.places[2 * point], this.places[2 * point + 1]];
  }

  /** Returns the nearest of the points within reach; null if there is none. Those that stand out come first. */
  nearest({ order, out }: Scene, x: number, y: number): number | null {
    let [best, least] = [null as number | null, REACH];
    for (const point of order) {
      const far = Math.hypot(this.places[2 * point] - x, this.places[2 * point + 1] - y);
      const counted = out && !out.has(point) ? far + REACH / 2 : far;
      if (counted < least) [best, least] = [point, counted];
    }
    return best;
  }

  draw(scene: Scene): void {
    const { context, width, height } = this;
    const layerOf = [scene.order, scene.colouring, this.view, this.frame, width, height];
    if (layerOf.some((part, at) => part !== this.layerOf[at])) {
      this.layerOf = layerOf;
      this.drawLayer(scene);
    }
    context.clearRect(0, 0, width, height);
    context.drawImage(this.layer, 0, 0, width, height);
    this.drawLines(scene);
    this.drawLabels(scene);
    this.drawOutline(scene.outline);
  }

  private drawLayer(scene: Scene): void {
    this.places = this.project(scene.points);
    this.drawPoints(sizedContext(this.layer, this.width, this.height, devicePixelRatio), scene);
  }

  private drawPoints(context: CanvasRenderingContext2D, { order, out, queries, colouring }: Scene): void {
    const { view } = this;
    const many = order.length > MANY;
    const radius = Math.min(MOST_RADIUS, (many ? SMALL_RADIUS : RADIUS) * view.k ** 0.3);
    const rim = themed("ground");
    context.lineWidth = 0.8;
    for (const point of order) {
      const [x, y] = this.at(point);
      if (x < -9 || y < -9 || x > this.width + 9 || y > this.height + 9) continue;
      const bright = out?.has(point) ?? false;
      context.globalAlpha = out && !bright ? DIM : 0.85;
      context.fillStyle = colouring.palette[colouring.at[point]];
      shape(context, x, y, bright ? radius + 1 : radius, point < queries);
      context.fill();
      if (many || (out && !bright)) continue;
      context.strokeStyle = rim;
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  private drawLines({ chosen, attended, queries }: Scene): void {
    if (chosen === null) return;
    const { context } = this;
    const [x, y] = this.at(chosen);
    context.strokeStyle = themed("ink");
    const top = Math.max(0.05, ...attended.map(({ weight }) => weight));
    for (const { point, weight } of attended) {
      if (point === null) continue;
      const [toX, toY] = this.at(point);
      context.globalAlpha = 0.15 + 0.75 * (weight / top);
      context.lineWidth = 0.7 + 2 * (weight / top);
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(toX, toY);
      context.stroke();
      context.globalAlpha = 1;
      context.lineWidth = 1.4;
      shape(context, toX, toY, 6, point < queries);
      context.stroke();
    }
    context.lineWidth = 2.5;
    shape(context, x, y, 8, chosen < queries);
    context.stroke();
  }

  private drawLabels(scene: Scene): void {
    const taken: [number, number, number, number][] = [];
    for (const point of this.labelled(scene)) {
      const [x, y] = this.at(point);
      if (x < 0 || y < 0 || x > this.width || y > this.height) continue;
      const text = scene.label(point);
      this.context.font = `${point === scene.chosen ? "600 " : ""}${LABEL_SIZE}px ${FONT}`;
      const wide = this.context.measureText(text).width;
      const left = x + 9 + wide > this.width ? x - 9 - wide : x + 9;
      const box: [number, number, number, number] = [left, y - 7, left + wide, y + 7];
      if (taken.some(([a, b, c, d]) => a < box[2] && box[0] < c && b < box[3] && box[1] < d)) continue;
      taken.push(box);
      this.label(text, left, y);
    }
  }

  /** Returns the points to label, the most important first. */
  private labelled({ chosen, attended, order, out }: Scene): number[] {
    const first = chosen === null ? [] : [chosen, ...attended.flatMap(({ point }) => (point === null ? [] : [point]))];
    const inSight = order.filter((point) => {
      const [x, y] = this.at(point);
      return x >= 0 && y >= 0 && x <= this.width && y <= this.height;
    });
    const candidates = out ? inSight.filter((point) => out.has(point)) : inSight;
    const more = candidates.length <= (out ? OUT_LABELLED : ALL_LABELLED) ? candidates : [];
    return [...new Set([...first, ...more])];
  }

  private label(text: string, left: number, y: number): void {
    const { context } = this;
    context.textBaseline = "middle";
    context.direction = "ltr";
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = themed("ground");
    context.strokeText(text, left, y);
    context.fillStyle = themed("ink");
    context.fillText(text, left, y);
  }

  private drawOutline(outline: Outline): void {
    if (outline.length < 2) return;
    const { context } = this;
    context.beginPath();
    for (const [x, y] of outline) context.lineTo(x, y);
    context.closePath();
    context.fillStyle = context.strokeStyle = themed("accent");
    context.globalAlpha = 0.12;
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.stroke();
  }
}

/** Begins a circle for a query, a diamond for a key. */
function shape(context: CanvasRenderingContext2D, x: number, y: number, radius: number, isQuery: boolean): void {
  context.beginPath();
  if (isQuery) {
    context.arc(x, y, radius, 0, 2 * Math.PI);
    return;
  }
  const reach = 1.3 * radius;
  context.moveTo(x - reach, y);
  context.lineTo(x, y - reach);
  context.lineTo(x + reach, y);
  context.lineTo(x, y + reach);
  context.closePath();
}
