// The menus and switches: text, kind, layer, head, and the transforms of maps.
import { type Selection, select } from "d3-selection";
import { UNFOCUSED } from "../focus";
import type { Run } from "../run";
import type { Change, HeadName, LayerName, State, Store } from "../state";

interface Choice {
  name: string;
  label: string;
  options: { value: string; text: string }[];
  value: string;
  pick(value: string): Change;
}

interface Switch {
  name: string;
  label: string;
  on: boolean;
  tooltip: string;
  enabled: boolean;
  flip: Change;
}

export function toolbar(host: HTMLElement, run: Run, store: Store): void {
  const { state } = store;
  const bar = select(host);
  bar.selectAll("*").remove();
  for (const choice of choices(run, state)) drawChoice(bar, choice, store);
  const box = bar
    .append("div")
    .attr("class", "switches")
    .attr("role", "group")
    .attr("aria-label", "transforms of maps");
  for (const option of switches(run, state)) drawSwitch(box, option, store);
}

function drawChoice(bar: Selection<HTMLElement, unknown, null, undefined>, choice: Choice, store: Store): void {
  if (choice.options.length < 2) return;
  const label = bar.append("label").attr("class", "choice");
  label.append("span").text(choice.label);
  const menu = label
    .append("select")
    .attr("data-keep", choice.name)
    .attr("name", choice.name)
    .on("change", (event: Event) => store.change(choice.pick((event.target as HTMLSelectElement).value)));
  menu
    .selectAll("option")
    .data(choice.options)
    .join("option")
    .attr("value", (option) => option.value)
    .property("selected", (option) => option.value === choice.value)
    .text((option) => option.text);
}

function drawSwitch(bar: Selection<HTMLDivElement, unknown, null, undefined>, option: Switch, store: Store): void {
  bar
    .append("button")
    .attr("type", "button")
    .attr("class", "switch")
    .attr("data-keep", option.name)
    .attr("data-switch", option.name)
    .attr("aria-pressed", String(option.on))
    .attr("title", option.tooltip)
    .property("disabled", !option.enabled)
    .text(option.label)
    .on("click", () => store.change(option.flip));
}

function choices(run: Run, state: State): Choice[] {
  const layers = run.maps(state).layers.map((layer) => layer.layer);
  const { heads } = run.layer(state);
  const combined: HeadName[] = run.combinations(state);
  return [
    {
      name: "text",
      label: "text",
      options: run.texts.map((text) => ({ value: String(text), text: nameOf(run, text) })),
      value: String(state.text),
      pick: (value) => ({ text: Number(value), ...UNFOCUSED }),
    },
    {
      name: "kind",
      label: "kind",
      options: run.kinds(state.text).map((kind) => ({ value: kind, text: kind })),
      value: state.kind,
      pick: (value) => ({ kind: value as State["kind"], ...UNFOCUSED }),
    },
    {
      name: "layer",
      label: "layer",
      options: layers.map((layer) => ({ value: String(layer), text: String(layer) })),
      value: String(state.layer),
      pick: (value) => ({ layer: numbered(value) as LayerName }),
    },
    {
      name: "head",
      label: "head",
      options: [...heads, ...combined].map((head) => ({
        value: String(head),
        text: typeof head === "number" ? String(head) : `${head} of all`,
      })),
      value: String(state.head),
      pick: (value) => ({ head: numbered(value) as HeadName, heads: null }),
    },
  ];
}

function nameOf(run: Run, text: number): string {
  return `${text}: ${run.page.maps.find((maps) => maps.text === text)?.name ?? ""}`;
}

function numbered(value: string): number | string {
  return /^\d+$/.test(value) ? Number(value) : value;
}

function switches(run: Run, state: State): Switch[] {
  const can = run.transformable(state);
  const maps = run.maps(state);
  const cannot =
    maps.form === "strongest" || maps.pool !== "none"
      ? "only possible for maps with every weight"
      : "already done in this run";
  return [
    {
      name: "words",
      label: "words",
      on: state.words || maps.words,
      tooltip: can.words
        ? "words instead of pieces: the sum over the pieces of a key, the mean over those of a query (w)"
        : cannot,
      enabled: can.words,
      flip: { words: !state.words, ...UNFOCUSED },
    },
    {
      name: "special",
      label: "without special",
      on: state.special === "drop" || maps.dropped_special,
      tooltip: can.special ? "drop special tokens from both axes and scale rows to 1 (s)" : cannot,
      enabled: can.special && run.hasSpecial(state),
      flip: { special: state.special === "keep" ? "drop" : "keep", ...UNFOCUSED },
    },
    {
      name: "sinks",
      label: "without sinks",
      on: state.sinks === "drop",
      tooltip: "drop keys that receive 0.3 or more from the rows that can see them, and scale rows to 1 (x)",
      enabled: maps.form === "whole",
      flip: { sinks: state.sinks === "keep" ? "drop" : "keep" },
    },
    {
      name: "log",
      label: "log scale",
      on: state.scale === "log",
      tooltip: "logarithmic colour scale of maps (l)",
      enabled: true,
      flip: { scale: state.scale === "log" ? "linear" : "log" },
    },
  ];
}
