// The page: reads the run that it contains, and draws the view of its address.
import { select } from "d3-selection";
import { blobsOf } from "./blobs";
import type { Drawing, View } from "./drawing";
import { Run } from "./run";
import type { Page } from "./schema";
import { parsed, type State, Store, type ViewName, written } from "./state";
import { helpDialog } from "./ui/help";
import { keyboard } from "./ui/keyboard";
import { keysOf } from "./ui/keys";
import {
  type Button,
  drawButtons,
  drawNotes,
  drawTabs,
  followAddress,
  followWindow,
  heightFrom,
  layout,
  openPage,
  readPage,
  type Tab,
  widthInside,
} from "./ui/page";
import { csvOf, download, pngOf, svgOf } from "./ui/save";
import { isDark } from "./ui/theme";
import { toolbar } from "./ui/toolbar";
import { attributionView } from "./views/attribution";
import { flowView } from "./views/flow";
import { headView } from "./views/head";
import { matrixView } from "./views/matrix";
import { modelView } from "./views/model";
import { neuronView } from "./views/neuron";
import { numbersView } from "./views/numbers";
import { textView } from "./views/text";

const DRAWN: Record<ViewName, { title: string; draw: View }> = {
  head: { title: "Head", draw: headView },
  model: { title: "Model", draw: modelView },
  matrix: { title: "Matrix", draw: matrixView },
  neuron: { title: "Neuron", draw: neuronView },
  text: { title: "Text", draw: textView },
  numbers: { title: "Numbers", draw: numbersView },
  flow: { title: "Flow", draw: flowView },
  attribution: { title: "Attribution", draw: attributionView },
};
/** Pixels of the status line below the view. */
const STATUS_HEIGHT = 90;

class App {
  private readonly run: Run;
  private readonly start: State;
  private readonly store: Store;
  private drawing: Drawing | null = null;
  private readonly parts = layout();
  /** The name of the text, below the heading. */
  private readonly text = select(this.parts.heading).append("p").attr("class", "what").attr("dir", "auto");

  constructor(page: Page) {
    this.run = new Run(page, blobsOf(document));
    this.start = this.run.legal(this.run.start());
    this.store = new Store({ ...this.start, ...parsed(location.hash) }, (state) => this.run.legal(state));
    this.store.listen(() => this.draw());
    followAddress(this.store, this.start, parsed, written);
    followWindow(this.store, () => this.draw());
    const keys = keysOf(this.run);
    const help = helpDialog(document.body, keys);
    keyboard(keys, help, (key) => this.store.change(key.change(this.run, this.store.state)));
    this.header(page, help);
    const exact = "Weights have 8 bits: each is off by less than 1/255 of the largest weight of its row.";
    drawNotes(this.parts.notes, [...page.notes, exact]);
    this.draw();
  }

  private draw(): void {
    const { state } = this.store;
    const keep = (document.activeElement as HTMLElement | null)?.dataset.keep;
    document.documentElement.dataset.theme = isDark(state) ? "dark" : "light";
    drawTabs(this.parts.tabs, this.tabs, state.view);
    this.text.text(this.run.maps(state).name);
    toolbar(this.parts.tools, this.run, this.store);
    this.drawing?.end?.();
    this.parts.view.replaceChildren();
    this.parts.view.setAttribute("aria-labelledby", `tab-${state.view}`);
    const announce = (text: string) => {
      this.parts.status.textContent = text;
    };
    const { view } = this.parts;
    const [width, height] = [widthInside(view), heightFrom(view) - STATUS_HEIGHT];
    const stage = { host: view, width, height, run: this.run, store: this.store, state, announce };
    this.drawing = DRAWN[state.view].draw(stage);
    document.body.dataset.drawn = state.view;
    if (keep) document.querySelector<HTMLElement>(`[data-keep="${CSS.escape(keep)}"]`)?.focus({ preventScroll: true });
  }

  private get tabs(): Tab[] {
    return this.run.views.map((name, at) => ({
      name,
      title: DRAWN[name].title,
      tooltip: `key ${at + 1}`,
      open: () => this.store.change({ view: name }),
    }));
  }

  private header(page: Page, help: () => void): void {
    const { model, class: kind, dtype, capture } = page.run;
    document.title = `${page.title} · attention`;
    select(this.parts.title).text(page.title);
    select(this.parts.about).text([kind, dtype, capture && `${capture} capture`].filter(Boolean).join(" · "));
    this.parts.about.title = model;
    const buttons: Button[] = [
      ["SVG", "this view as an SVG file", () => this.save("svg")],
      ["PNG", "this view as a PNG file", () => this.save("png")],
      ["CSV", "the numbers of this view as a CSV file", () => this.save("csv")],
    ];
    drawButtons(this.parts.buttons, buttons, this.store, help);
  }

  private async save(format: "svg" | "png" | "csv"): Promise<void> {
    if (!this.drawing) return;
    const { view, kind, layer, head } = this.store.state;
    const name = `${view}-${kind}-L${layer}-H${head}.${format}`;
    if (format === "csv") download(name, csvOf(this.drawing.table()), "text/csv");
    else if (format === "svg") download(name, svgOf(this.drawing), "image/svg+xml");
    else {
      const made = await pngOf(this.drawing);
      if (made) download(name, made);
      else this.parts.status.textContent = "this view is too large for a PNG: save it as SVG";
    }
  }
}

openPage(() => new App(readPage<Page>("attncli.page/1", "this page contains no run: make one with `attncli view`")));
