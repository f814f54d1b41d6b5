// The page of `attncli qk-map`: reads the maps that it contains, and draws all heads or one.
import { blobsOf } from "../blobs";
import { helpDialog } from "../ui/help";
import { keyboard } from "../ui/keyboard";
import {
  drawButtons,
  drawNotes,
  drawTabs,
  followAddress,
  followWindow,
  layout,
  openPage,
  readPage,
  type Tab,
} from "../ui/page";
import { isDark } from "../ui/theme";
import { HeadView } from "./head";
import { KEYS } from "./keys";
import { QkMaps } from "./maps";
import { matrixView } from "./matrix";
import type { QkPage } from "./schema";
import { parsed, type State, Store, written } from "./state";
import { type Toolbar, toolbar } from "./toolbar";
import { type QkView, Selected, type Stage } from "./view";

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
    });
    followAddress(this.store, this.start, parsed, written);
    followWindow(this.store, () => this.draw());
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
    keyboard(KEYS, help, (key) => key.act(acted, this.store.state));
    document.title = `${page.title} · queries and keys`;
    this.parts.title.textContent = page.title;
    this.parts.about.textContent = [...page.about, page.method].join(" · ");
    drawButtons(this.parts.buttons, [], this.store, help);
    const near = "Near means attended only as far as the numbers of a head say; axes have no meaning.";
    drawNotes(this.parts.notes, [...page.notes, near]);
    this.draw();
  }

  /** Opens the head that was open last, else the first. */
  private openHead(): void {
    const names = this.maps.names(this.store.state);
    this.store.change({ head: names.includes(this.last) ? this.last : names[0] });
  }

  private toggleLasso(): void {
    if (!(this.view instanceof HeadView)) return;
    this.view.lasso = !this.view.lasso;
    this.draw();
  }

  private draw(): void {
    const { state } = this.store;
    const view = state.head ? "head" : "heads";
    if (state.head) this.last = state.head;
    document.documentElement.dataset.theme = isDark(state) ? "dark" : "light";
    drawTabs(this.parts.tabs, this.tabs, view);
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

  private get tabs(): Tab[] {
    const { state } = this.store;
    const all = { name: "heads", title: "All heads", open: () => this.store.change({ head: "" }) };
    const one = { name: "head", title: state.head ? `Head ${state.head}` : "Head", open: () => this.openHead() };
    return this.maps.names(state).length > 1 ? [all, one] : [one];
  }
}

openPage(
  () =>
    new App(readPage<QkPage>("attncli.qk-map-page/1", "this page contains no maps: make one with `attncli qk-map`")),
);
