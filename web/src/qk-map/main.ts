// The page of `attncli qk-map`: reads the maps that it contains, and draws all heads or one.
import { select } from "d3-selection";
import { blobsOf } from "../blobs";
import { helpDialog } from "../ui/help";
import { DARK, isDark } from "../ui/theme";
import { HeadView } from "./head";
import { headBy, KEYS, keyboard } from "./keys";
import { QkMaps } from "./maps";
import { matrixView } from "./matrix";
import type { QkPage } from "./schema";
import { parsed, type State, Store, written } from "./state";
import { type Toolbar, toolbar } from "./toolbar";
import { type QkView, Selected, type Stage } from "./view";

const SCHEMA: QkPage["schema"] = "attncli.qk-map-page/1";
/** Largest change of the height of a window, in pixels, that does not draw the view again. */
const ADDRESS_BAR = 120;

function readPage(): QkPage {
  const script = document.getElementById("page");
  if (!script) throw new Error("this page contains no maps: make one with `attncli qk-map`");
  const page = JSON.parse(script.textContent ?? "") as QkPage;
  if (page.schema !== SCHEMA) throw new Error(`expected a page of ${SCHEMA}, got ${page.schema}`);
  return page;
}

class App {
  private readonly maps: QkMaps;
  private readonly start: State;
  private readonly store: Store;
  private readonly selection = new Selected(() => this.draw());
  private readonly tools: Toolbar;
  private readonly parts = layout();
  private view: QkView | null = null;
  private drawn = "";
  /** The head that was open last. */
  private last = "";

  constructor(page: QkPage) {
    this.maps = new QkMaps(page, blobsOf(document));
    const { kind } = page.kinds[0];
    const { color } = page;
    const start: State = { kind, head: "", color, search: "", show: "both", point: null, theme: "auto" };
    this.start = this.maps.legal(start);
    this.store = new Store({ ...this.start, ...parsed(location.hash) }, (state) => this.maps.legal(state));
    this.store.listen((state, before) => {
      if (state.kind !== before.kind) this.selection.points = null;
      this.draw();
      this.address();
    });
    const help = helpDialog(document.body, KEYS);
    const acted = {
      maps: this.maps,
      store: this.store,
      selection: this.selection,
      head: () => (this.view instanceof HeadView ? this.view : null),
      openHead: () => this.openHead(),
      toggleLasso: () => this.toggleLasso(),
      focusSearch: () => this.tools.search.focus(),
    };
    this.tools = toolbar(this.parts.tools, acted);
    keyboard(acted, help);
    this.header(page, help);
    this.footer(page);
    this.listen();
    this.draw();
  }

  private listen(): void {
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
  }

  /** Opens the head that was open last, else the first. */
  private openHead(): void {
    const { state } = this.store;
    if (this.maps.names(state).includes(this.last)) this.store.change({ head: this.last });
    else headBy(this.stage, state, 0);
  }

  private toggleLasso(): void {
    if (!(this.view instanceof HeadView)) return;
    this.view.lasso = !this.view.lasso;
    this.draw();
  }

  /** Writes the state into the address; a page inside a notebook cannot replace its history entry. */
  private address(): void {
    const address = written(this.store.state, this.start);
    try {
      history.replaceState(null, "", address);
    } catch {
      location.hash = address;
    }
  }

  private draw(): void {
    const { state } = this.store;
    const view = state.head ? "head" : "heads";
    if (state.head) this.last = state.head;
    document.documentElement.dataset.theme = isDark(state) ? "dark" : "light";
    this.tabs(view);
    if (view !== this.drawn) {
      this.view?.end();
      this.parts.view.replaceChildren();
      this.parts.view.setAttribute("aria-labelledby", `tab-${view}`);
      this.view = view === "head" ? new HeadView(this.stage) : matrixView(this.stage);
      this.drawn = view;
    }
    this.tools.update(state, this.view instanceof HeadView && this.view.lasso);
    this.view?.update(state);
    document.body.dataset.drawn = view;
  }

  private get stage(): Stage {
    const announce = (text: string) => {
      this.parts.status.textContent = text;
    };
    const { maps, store, selection } = this;
    return { host: this.parts.view, maps, store, selection, announce };
  }

  private tabs(view: string): void {
    const { state } = this.store;
    const names = this.maps.names(state);
    const all: [string, string, () => void] = ["heads", "All heads", () => this.store.change({ head: "" })];
    const one: [string, string, () => void] = [
      "head",
      state.head ? `Head ${state.head}` : "Head",
      () => this.openHead(),
    ];
    select(this.parts.tabs)
      .selectAll<HTMLButtonElement, typeof all>("button")
      .data(names.length > 1 ? [all, one] : [one])
      .join("button")
      .attr("type", "button")
      .attr("role", "tab")
      .attr("id", ([name]) => `tab-${name}`)
      .attr("aria-controls", "view")
      .attr("aria-selected", ([name]) => String(name === view))
      .text(([, title]) => title)
      .on("click", (_, [, , act]) => act());
  }

  private header(page: QkPage, help: () => void): void {
    document.title = `${page.title} · queries and keys`;
    this.parts.title.textContent = page.title;
    this.parts.about.textContent = [...page.about, page.method].join(" · ");
    const buttons: [string, string, () => void][] = [
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

  private footer(page: QkPage): void {
    const near = "Near means attended only as far as the numbers of a head say; axes have no meaning.";
    const honest = "Attention shows where a head reads from, not why the model gives its answer.";
    select(this.parts.notes)
      .selectAll("p")
      .data([...page.notes, near, honest])
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
