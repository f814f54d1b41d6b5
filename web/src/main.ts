// The page: reads the run that it contains, and draws the view of its address.
import { select } from "d3-selection";
import { blobsOf } from "./blobs";
import type { Drawing, View } from "./drawing";
import { Run } from "./run";
import type { Page } from "./schema";
import { parsed, type State, Store, type ViewName, written } from "./state";
import { helpDialog } from "./ui/help";
import { keyboard, keysOf } from "./ui/keys";
import { csvOf, download, pngOf, svgOf } from "./ui/save";
import { DARK, isDark } from "./ui/theme";
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
/** Largest change of the height of a window, in pixels, that does not draw the view again. */
const ADDRESS_BAR = 120;
const SCHEMA: Page["schema"] = "attncli.page/1";

function readPage(): Page {
  const script = document.getElementById("page");
  if (!script) throw new Error("this page contains no run: make one with `attncli view`");
  const page = JSON.parse(script.textContent ?? "") as Page;
  if (page.schema !== SCHEMA) throw new Error(`expected a page of ${SCHEMA}, got ${page.schema}`);
  return page;
}

class App {
  private readonly run: Run;
  private readonly start: State;
  private readonly store: Store;
  private drawing: Drawing | null = null;
  private readonly parts = layout();

  constructor(page: Page) {
    this.run = new Run(page, blobsOf(document));
    this.start = this.run.legal(this.run.start());
    this.store = new Store({ ...this.start, ...parsed(location.hash) }, (state) => this.run.legal(state));
    this.store.listen(() => {
      this.draw();
      this.address();
    });
    const help = helpDialog(document.body, keysOf(this.run));
    keyboard(this.run, this.store, help);
    this.header(page, help);
    this.footer(page);
    addEventListener("hashchange", () => {
      if (location.hash !== written(this.store.state, this.start)) {
        this.store.change({ ...this.start, ...parsed(location.hash) });
      }
    });
    let [width, height] = [innerWidth, innerHeight];
    addEventListener("resize", () => {
      // a phone hides its address bar while it scrolls: only a change by more is a new window
      if (innerWidth === width && Math.abs(innerHeight - height) < ADDRESS_BAR) return;
      this.draw();
      [width, height] = [innerWidth, innerHeight];
    });
    DARK.addEventListener("change", () => {
      if (this.store.state.theme === "auto") this.draw();
    });
    this.draw();
  }

  /** Writes the state into the address; a page inside a notebook cannot replace its history entry. */
  private address(): void {
    try {
      history.replaceState(null, "", written(this.store.state, this.start));
    } catch {
      location.hash = written(this.store.state, this.start);
    }
  }

  private draw(): void {
    const { state } = this.store;
    const keep = (document.activeElement as HTMLElement | null)?.dataset.keep;
    document.documentElement.dataset.theme = isDark(state) ? "dark" : "light";
    this.tabs();
    this.parts.text.textContent = this.run.maps(state).name;
    toolbar(this.parts.tools, this.run, this.store);
    this.drawing?.end?.();
    this.parts.view.replaceChildren();
    this.parts.view.setAttribute("aria-labelledby", `tab-${state.view}`);
    const announce = (text: string) => {
      this.parts.status.textContent = text;
    };
    const { view } = this.parts;
    const look = getComputedStyle(view);
    const width = view.clientWidth - Number.parseFloat(look.paddingLeft) - Number.parseFloat(look.paddingRight);
    const height = innerHeight - view.getBoundingClientRect().top - scrollY - STATUS_HEIGHT;
    const stage = { host: view, width, height, run: this.run, store: this.store, state, announce };
    this.drawing = DRAWN[state.view].draw(stage);
    document.body.dataset.drawn = state.view;
    if (keep) document.querySelector<HTMLElement>(`[data-keep="${CSS.escape(keep)}"]`)?.focus({ preventScroll: true });
  }

  private tabs(): void {
    const { view } = this.store.state;
    select(this.parts.tabs)
      .selectAll<HTMLButtonElement, ViewName>("button")
      .data(this.run.views)
      .join("button")
      .attr("type", "button")
      .attr("role", "tab")
      .attr("id", (name) => `tab-${name}`)
      .attr("aria-controls", "view")
      .attr("aria-selected", (name) => String(name === view))
      .attr("data-keep", (name) => `tab-${name}`)
      .attr("title", (_, at) => `key ${at + 1}`)
      .text((name) => DRAWN[name].title)
      .on("click", (_, name) => this.store.change({ view: name }));
  }

  private header(page: Page, help: () => void): void {
    const { model, class: kind, dtype, capture } = page.run;
    document.title = `${page.title} · attention`;
    select(this.parts.title).text(page.title);
    select(this.parts.about).text([kind, dtype, capture && `${capture} capture`].filter(Boolean).join(" · "));
    this.parts.about.title = model;
    const buttons: [string, string, () => void][] = [
      ["SVG", "this view as an SVG file", () => this.save("svg")],
      ["PNG", "this view as a PNG file", () => this.save("png")],
      ["CSV", "the numbers of this view as a CSV file", () => this.save("csv")],
      ["◐", "light or dark (t)", () => this.store.change({ theme: isDark(this.store.state) ? "light" : "dark" })],
      ["?", "keyboard (?)", help],
    ];
    select(this.parts.buttons)
      .selectAll("button")
      .data(buttons)
      .join("button")
      .attr("type", "button")
      .attr("class", "plain")
      .attr("aria-label", ([, title]) => title)
      .attr("title", ([, title]) => title)
      .text(([text]) => text)
      .on("click", (_, [, , act]) => act());
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

  private footer(page: Page): void {
    const exact = "Weights have 8 bits: each is off by less than 1/255 of the largest weight of its row.";
    const honest = "Attention shows where a head reads from, not why the model gives its answer.";
    select(this.parts.notes)
      .selectAll("p")
      .data([...page.notes, exact, honest])
      .join("p")
      .text((note) => note);
  }
}

function layout() {
  const body = select(document.body);
  const header = body.append("header");
  const heading = header.append("div").attr("class", "heading");
  const title = heading.append("h1").node() as HTMLElement;
  const about = heading.append("p").node() as HTMLElement;
  const text = heading.append("p").attr("class", "what").attr("dir", "auto").node() as HTMLElement;
  const tabs = header.append("div").attr("role", "tablist").attr("aria-label", "views").node() as HTMLElement;
  const buttons = header.append("div").attr("class", "buttons").node() as HTMLElement;
  const main = body.append("main");
  const tools = main.append("div").attr("class", "tools").attr("role", "toolbar").attr("aria-label", "selection");
  const view = main.append("div").attr("id", "view").attr("role", "tabpanel").attr("tabindex", -1);
  const status = main.append("p").attr("class", "status").attr("role", "status");
  const notes = body.append("footer").node() as HTMLElement;
  return {
    title,
    about,
    text,
    tabs,
    buttons,
    tools: tools.node() as HTMLElement,
    view: view.node() as HTMLElement,
    status: status.node() as HTMLElement,
    notes,
  };
}

try {
  new App(readPage());
} catch (error) {
  select(document.body)
    .append("p")
    .attr("class", "error")
    .attr("role", "alert")
    .text(`error: ${(error as Error).message}`);
}
