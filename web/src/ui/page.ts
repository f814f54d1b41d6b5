// What every page has: its content, its address, and the parts around its view.
import { select } from "d3-selection";
import type { StoreOf } from "../address";
import { DARK, otherTheme, type Theme } from "./theme";

/** Largest change of the height of a window, in pixels, that does not draw the view again. */
const ADDRESS_BAR = 120;
const HONEST = "Attention shows where a head reads from, not why the model gives its answer.";

/** Runs `open`, which opens the page; shows its error on the page. */
export function openPage(open: () => void): void {
  try {
    open();
  } catch (error) {
    select(document.body)
      .append("p")
      .attr("class", "error")
      .attr("role", "alert")
      .text(`error: ${(error as Error).message}`);
  }
}

/** Returns the content of the page; `missing` is the error of a page without content. */
export function readPage<P extends { schema: string }>(schema: P["schema"], missing: string): P {
  const script = document.getElementById("page");
  if (!script) throw new Error(missing);
  const page = JSON.parse(script.textContent ?? "") as P;
  if (page.schema !== schema) throw new Error(`expected a page of ${schema}, got ${page.schema}`);
  return page;
}

/** Writes each new state into the address, and takes over an address that the user changes. */
export function followAddress<S>(
  store: StoreOf<S>,
  start: S,
  parsed: (hash: string) => Partial<S>,
  written: (state: S, start: S) => string,
): void {
  store.listen((state) => writeAddress(written(state, start)));
  addEventListener("hashchange", () => {
    if (location.hash !== written(store.state, start)) store.change({ ...start, ...parsed(location.hash) });
  });
}

/** Writes the address; a page inside a notebook cannot replace its history entry. */
function writeAddress(address: string): void {
  try {
    history.replaceState(null, "", address);
  } catch {
    location.hash = address;
  }
}

/** A store whose state has a theme. */
export interface Themed {
  readonly state: { theme: Theme };
  change(change: { theme: Theme }): void;
}

/** Calls `draw` when the window has a new size, and when the system becomes light or dark while the page follows it. */
export function followWindow(store: Themed, draw: () => void): void {
  let [width, height] = [innerWidth, innerHeight];
  addEventListener("resize", () => {
    // a phone hides its address bar while it scrolls: only a change by more is a new window
    if (innerWidth === width && Math.abs(innerHeight - height) < ADDRESS_BAR) return;
    draw();
    [width, height] = [innerWidth, innerHeight];
  });
  DARK.addEventListener("change", () => {
    if (store.state.theme === "auto") draw();
  });
}

/** Adds the parts of a page around its view, and returns them. */
export function layout() {
  const body = select(document.body);
  const header = body.append("header");
  const heading = header.append("div").attr("class", "heading");
  const title = heading.append("h1");
  const about = heading.append("p");
  const tabs = header.append("div").attr("role", "tablist").attr("aria-label", "views");
  const buttons = header.append("div").attr("class", "buttons");
  const main = body.append("main");
  const tools = main.append("div").attr("class", "tools").attr("role", "toolbar").attr("aria-label", "selection");
  const view = main.append("div").attr("id", "view").attr("role", "tabpanel").attr("tabindex", -1);
  const status = main.append("p").attr("class", "status").attr("role", "status");
  const notes = body.append("footer");
  const parts = { heading, title, about, tabs, buttons, tools, view, status, notes };
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.node()])) as Record<
    keyof typeof parts,
    HTMLElement
  >;
}

export interface Tab {
  name: string;
  title: string;
  tooltip?: string;
  open(): void;
}

/** Draws the tabs of the header; `selected` is the name of the one whose view is shown. */
export function drawTabs(host: HTMLElement, tabs: readonly Tab[], selected: string): void {
  select(host)
    .selectAll<HTMLButtonElement, Tab>("button")
    .data(tabs)
    .join("button")
    .attr("type", "button")
    .attr("role", "tab")
    .attr("id", ({ name }) => `tab-${name}`)
    .attr("aria-controls", "view")
    .attr("aria-selected", ({ name }) => String(name === selected))
    .attr("title", ({ tooltip }) => tooltip ?? null)
    .text(({ title }) => title)
    .on("click", (_, { open }) => open());
}

/** A button of the header: its text, what it does in words, and what it does. */
export type Button = [text: string, title: string, act: () => void];

/** Draws the buttons of a page, then those that every page has. */
export function drawButtons(host: HTMLElement, buttons: readonly Button[], store: Themed, help: () => void): void {
  const all: Button[] = [
    ...buttons,
    ["◐", "light or dark (t)", () => store.change(otherTheme(store.state))],
    ["?", "keyboard (?)", help],
  ];
  select(host)
    .selectAll("button")
    .data(all)
    .join("button")
    .attr("type", "button")
    .attr("class", "plain")
    .attr("aria-label", ([, title]) => title)
    .attr("title", ([, title]) => title)
    .text(([text]) => text)
    .on("click", (_, [, , act]) => act());
}

/** Draws the notes of a page, then the one that every page has. */
export function drawNotes(host: HTMLElement, notes: readonly string[]): void {
  select(host)
    .selectAll("p")
    .data([...notes, HONEST])
    .join("p")
    .text((note) => note);
}

/** Returns the width of an element without its padding. */
export function widthInside(host: HTMLElement): number {
  const look = getComputedStyle(host);
  return host.clientWidth - Number.parseFloat(look.paddingLeft) - Number.parseFloat(look.paddingRight);
}

/** Returns the height from the top of an element to the end of the window, if the page is not scrolled. */
export function heightFrom(host: HTMLElement): number {
  return innerHeight - host.getBoundingClientRect().top - scrollY;
}
