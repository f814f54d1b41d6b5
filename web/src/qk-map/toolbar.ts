// The menus and switches of the page; built once, so that the text that is typed stays.
import { type Selection, select } from "d3-selection";
import { COLOUR_NAMES } from "./colours";
import type { Acted } from "./keys";
import { type Change, COLOURS, SHOWN, type State } from "./state";

interface Menu {
  name: "kind" | "head" | "color" | "show";
  label: string;
  options(state: State): { value: string; text: string }[];
}

export interface Toolbar {
  search: HTMLInputElement;
  update(state: State, lasso: boolean): void;
}

export function toolbar(host: HTMLElement, acted: Acted): Toolbar {
  const bar = select(host);
  const menus = menusOf(acted).map((menu) => ({ menu, ...drawMenu(bar, menu, acted) }));
  const label = bar.append("label").attr("class", "choice");
  label.append("span").text("search");
  const search = label
    .append("input")
    .attr("type", "search")
    .attr("name", "search")
    .attr("placeholder", "token")
    .attr("autocomplete", "off")
    .attr("spellcheck", "false")
    .on("input", (event: Event) => acted.store.change({ search: (event.target as HTMLInputElement).value }))
    .node() as HTMLInputElement;
  const box = bar.append("div").attr("class", "switches").attr("role", "group").attr("aria-label", "map");
  const button = (text: string, title: string, act: () => void) =>
    box
      .append("button")
      .attr("type", "button")
      .attr("class", "switch")
      .attr("title", title)
      .text(text)
      .on("click", act);
  const lassoSwitch = button("lasso", "drag draws around tokens (l, or drag with Shift)", () => acted.toggleLasso());
  const whole = button("whole map", "show all points again (0)", () => acted.head()?.whole());
  return {
    search,
    update(state, lasso) {
      for (const { menu, field, node } of menus) fill(menu, field, node, state);
      if (search.value !== state.search) search.value = state.search;
      lassoSwitch.attr("aria-pressed", String(lasso));
      for (const one of [lassoSwitch, whole]) one.property("disabled", state.head === "");
    },
  };
}

function menusOf({ maps }: Acted): Menu[] {
  const named = (value: string) => ({ value, text: value });
  return [
    { name: "kind", label: "kind", options: () => maps.page.kinds.map(({ kind }) => named(kind)) },
    {
      name: "head",
      label: "head",
      options: (state) => {
        const names = maps.names(state);
        return [...(names.length > 1 ? [{ value: "", text: "all" }] : []), ...names.map(named)];
      },
    },
    { name: "color", label: "colour", options: () => COLOURS.map((value) => ({ value, text: COLOUR_NAMES[value] })) },
    { name: "show", label: "show", options: () => SHOWN.map((value) => ({ value, text: value })) },
  ];
}

function drawMenu(bar: Selection<HTMLElement, unknown, null, undefined>, menu: Menu, { store }: Acted) {
  const label = bar.append("label").attr("class", "choice");
  label.append("span").text(menu.label);
  const node = label
    .append("select")
    .attr("name", menu.name)
    .on("change", (event: Event) => {
      const change: Change = { [menu.name]: (event.target as HTMLSelectElement).value };
      // the points of another kind are other tokens
      store.change(menu.name === "kind" ? { ...change, point: null } : change);
    })
    .node() as HTMLSelectElement;
  return { field: label.node() as HTMLElement, node };
}

function fill(menu: Menu, field: HTMLElement, node: HTMLSelectElement, state: State): void {
  const options = menu.options(state);
  field.hidden = options.length < 2;
  select(node)
    .selectAll("option")
    .data(options)
    .join("option")
    .attr("value", ({ value }) => value)
    .text(({ text }) => text);
  node.value = state[menu.name];
}
