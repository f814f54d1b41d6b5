// The dialog that shows the keys.
import { select } from "d3-selection";
import type { Described } from "./keyboard";

const NAMES: Record<string, string> = {
  ArrowRight: "→",
  ArrowLeft: "←",
  ArrowDown: "↓",
  ArrowUp: "↑",
  Escape: "Esc",
};

export function helpDialog(host: HTMLElement, described: readonly Described[]): () => void {
  const dialog = select(host).append("dialog").attr("aria-labelledby", "help-title");
  dialog.append("h2").attr("id", "help-title").text("Keyboard");
  const list = dialog.append("dl");
  for (const { keys, does } of [{ keys: ["?"], does: "show these keys" }, ...described]) {
    const line = list.append("div");
    line
      .append("dt")
      .append("kbd")
      .text(keys.map((key) => NAMES[key] ?? key).join(" "));
    line.append("dd").text(does);
  }
  const form = dialog.append("form").attr("method", "dialog");
  form.append("button").text("Close");
  return () => dialog.node()?.showModal();
}
