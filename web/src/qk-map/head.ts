// One head: its map, which zooms, moves and is selected from, and the panel beside it.
import { pointer, select } from "d3-selection";
import { type D3ZoomEvent, zoom, zoomIdentity } from "d3-zoom";
import { isolated } from "../cells";
import { oncePerFrame } from "../turns";
import { heightFrom, widthInside } from "../ui/page";
import { isDark } from "../ui/theme";
import { weight } from "../views/tokens";
import { colouringOf } from "./colours";
import { inside, isShown, searched } from "./found";
import { drawLegend } from "./legend";
import { distance } from "./maps";
import { drawPoint, drawQuality, drawSelection } from "./panel";
import { Scatter, type Scene } from "./scatter";
import type { State } from "./state";
import { drawnOrder, type QkView, type Stage, standingOut } from "./view";

const PANEL = 350;
const GAP = 20;
/** Width of a window that has room for the panel at the right of the map. */
const WIDE = 800;
const LEAST_HEIGHT = 340;
const MOST_ZOOM = 200;
const ZOOM_STEP = 1.5;
const PAN_STEP = 60;
/** Pixels below the map: the status line and its distance from it. */
const BELOW = 70;
const HINT = "point at a token to see its sentence; scroll to zoom, drag to move";
/** Least pixels between two corners of an outline. */
const CORNER = 4;

/** The view of one head, which the keyboard zooms and moves. */
export class HeadView implements QkView {
  lasso = false;
  private state!: State;
  private scene!: Scene;
  private hovered: number | null = null;
  private listed: ReadonlySet<number> | null = null;
  private readonly scatter: Scatter;
  private readonly parts: ReturnType<typeof layout>;
  private readonly refresh = oncePerFrame(() => this.scatter.draw(this.scene));
  private readonly zooming = zoom<HTMLCanvasElement, unknown>()
    .scaleExtent([0.5, MOST_ZOOM])
    .filter((event) => this.zooms(event));

  constructor(private readonly stage: Stage) {
    this.parts = layout(stage.host);
    this.scatter = new Scatter(this.parts.canvas);
    this.zooming.on("zoom", ({ transform }: D3ZoomEvent<HTMLCanvasElement, unknown>) => {
      this.scatter.view = transform;
      if (this.scene) this.refresh();
    });
    this.listen();
  }

  update(state: State): void {
    const before = this.state;
    this.state = state;
    const { maps, selection } = this.stage;
    const { points } = maps.map(state);
    if (!before || before.head !== state.head || before.kind !== state.kind) {
      this.hovered = null;
      this.scatter.frameAround(points);
      this.whole();
      drawQuality(this.parts.quality, maps, state);
    }
    const out = standingOut(this.stage, state);
    const colouring = colouringOf(maps, state, isDark(state));
    drawLegend(this.parts.legend, colouring.legend);
    const { queries } = maps.table(state);
    const label = (point: number) => maps.token(state, point).label;
    const order = drawnOrder(this.stage, state, out);
    this.scene = { points, queries, order, out, colouring, chosen: null, attended: [], outline: [], label };
    // not drawn again while it is the same: the place in its list, and the focus, would be lost
    if (!before || this.listed !== selection.points) drawSelection(this.parts.selection, this.stage);
    this.listed = selection.points;
    this.resize();
    this.point(this.hovered !== null && isShown(state, queries, this.hovered) ? this.hovered : state.point, true);
    if (!before || before.search !== state.search || before.head !== state.head) this.announceFound();
    document.body.dataset.painted = state.head;
    if (selection.points) this.parts.canvas.dataset.selected = String(selection.points.size);
    else delete this.parts.canvas.dataset.selected;
  }

  end(): void {}

  zoomBy(steps: number): void {
    select(this.parts.canvas).call(this.zooming.scaleBy, ZOOM_STEP ** steps);
  }

  moveBy(right: number, down: number): void {
    const { k } = this.scatter.view;
    select(this.parts.canvas).call(this.zooming.translateBy, (-right * PAN_STEP) / k, (-down * PAN_STEP) / k);
  }

  /** Shows all points again. */
  whole(): void {
    select(this.parts.canvas).call(this.zooming.transform, zoomIdentity);
  }

  /** Goes to the next or the previous token of a side, in the order of the texts. */
  step(side: "query" | "key", by: number): void {
    const { maps, store } = this.stage;
    const { count, queries, text, position } = maps.table(this.state);
    const [first, end] = side === "query" ? [0, queries] : [queries, count];
    if (first === end) return;
    const ordered = Array.from({ length: end - first }, (_, at) => first + at).sort(
      (a, b) => text[a] - text[b] || position[a] - position[b],
    );
    const from = ordered.indexOf(this.state.point ?? -1);
    const next = from < 0 ? (by > 0 ? 0 : ordered.length - 1) : (from + by + ordered.length) % ordered.length;
    this.hovered = null;
    store.change({ point: ordered[next] });
  }

  private resize(): void {
    const width = widthInside(this.stage.host);
    const isWide = innerWidth >= WIDE;
    const height = Math.max(LEAST_HEIGHT, heightFrom(this.parts.canvas) - BELOW);
    const wide = isWide ? width - PANEL - GAP : width;
    this.parts.panel.style.width = `${isWide ? PANEL : width}px`;
    this.scatter.resize(wide, isWide ? height : Math.min(height, Math.max(LEAST_HEIGHT, wide)));
    this.scatter.draw(this.scene);
  }

  /** Shows one point: its lines in the map, its sentence in the panel. */
  private point(point: number | null, always = false): void {
    if (!always && point === this.scene.chosen) return;
    const { maps, announce } = this.stage;
    this.scene.chosen = point;
    this.scene.attended = point === null ? [] : maps.attended(this.state, point);
    drawPoint(this.parts.point, this.stage, this.state, point);
    this.refresh();
    if (point !== null) announce(this.sentence(point));
    else announce(HINT);
  }

  /** Returns a point and its strongest weight in one line. */
  private sentence(point: number): string {
    const { maps } = this.stage;
    const { side, label, position } = maps.token(this.state, point);
    const [first] = this.scene.attended;
    const name = `${side} ${isolated(label)} (${position})`;
    if (!first) return `${name}: no strong weight`;
    const arrow = side === "query" ? "→" : "←";
    const far =
      first.point === null ? "" : `, distance ${distance(this.scene.points, point, first.point).toPrecision(3)}`;
    return `${name} ${arrow} ${isolated(first.label)} (${first.position}): weight ${weight(first.weight)}${far}`;
  }

  private announceFound(): void {
    if (!this.state.search) return;
    const { queries } = this.scene;
    const found = [...(searched(this.stage.maps, this.state) ?? [])];
    const ofQueries = found.filter((point) => point < queries).length;
    const counts = `${ofQueries} queries, ${found.length - ofQueries} keys`;
    this.stage.announce(found.length ? `found: ${counts}` : "no token of the map contains this");
  }

  private zooms(event: MouseEvent | TouchEvent): boolean {
    const touches = "touches" in event ? event.touches.length : 0;
    if (event.type !== "wheel" && this.draws(event) && touches < 2) return false;
    return (!event.ctrlKey || event.type === "wheel") && !("button" in event && event.button);
  }

  /** Whether a drag draws an outline: the lasso is on, or Shift is held. */
  private draws(event: Event): boolean {
    return this.lasso || (event as MouseEvent).shiftKey;
  }

  private listen(): void {
    const { canvas } = this.parts;
    select(canvas)
      .call(this.zooming)
      .on("dblclick.zoom", null)
      .on("pointermove.point", (event: PointerEvent) => {
        if (this.scene.outline.length) return;
        this.hovered = this.scatter.nearest(this.scene, ...pointer(event, canvas));
        this.point(this.hovered ?? this.state.point);
      })
      .on("pointerleave.point", () => {
        this.hovered = null;
        this.point(this.state.point);
      })
      .on("click.point", (event: PointerEvent) => {
        if (this.draws(event)) return;
        this.stage.store.change({ point: this.scatter.nearest(this.scene, ...pointer(event, canvas)) });
      })
      .on("pointerdown.lasso", (event: PointerEvent) => {
        if (!event.isPrimary) {
          this.drop();
          return;
        }
        if (!this.draws(event) || event.button) return;
        canvas.setPointerCapture(event.pointerId);
        this.scene.outline = [pointer(event, canvas)];
      })
      .on("pointermove.lasso", (event: PointerEvent) => this.extend(pointer(event, canvas)))
      .on("pointerup.lasso", () => this.close())
      .on("pointercancel.lasso", () => this.drop());
  }

  private extend([x, y]: [number, number]): void {
    const { outline } = this.scene;
    if (!outline.length) return;
    const [lastX, lastY] = outline[outline.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < CORNER) return;
    this.scene.outline = [...outline, [x, y]];
    this.refresh();
  }

  /** Gives up the outline, as when a second finger begins to zoom. */
  private drop(): void {
    this.scene.outline = [];
    this.refresh();
  }

  /** Selects the shown points inside the outline. */
  private close(): void {
    const { outline, order } = this.scene;
    this.drop();
    if (outline.length < 3) return;
    const chosen = order.filter((point) => inside(outline, ...this.scatter.at(point)));
    this.hovered = null;
    this.stage.selection.set(chosen);
    this.stage.announce(`selected ${chosen.length} points`);
  }
}

function layout(host: HTMLElement) {
  const box = select(host).append("div").attr("class", "head-map");
  const legend = box.append("div").attr("class", "legend");
  const canvas = box
    .append("canvas")
    .attr("tabindex", 0)
    .attr("role", "application")
    .attr("aria-label", "map of queries and keys: j, k, J and K go through tokens, plus and minus zoom");
  const panel = box.append("div").attr("class", "panel");
  const section = (name: string) => panel.append("section").attr("aria-label", name).attr("class", name);
  const quality = section("quality");
  const point = section("token-shown");
  const selection = section("selection");
  return {
    legend: legend.node() as HTMLElement,
    canvas: canvas.node() as HTMLCanvasElement,
    panel: panel.node() as HTMLElement,
    quality: quality.node() as HTMLElement,
    point: point.node() as HTMLElement,
    selection: selection.node() as HTMLElement,
  };
}
