// The keyboard of a page: what a key press does, and the next member of a list.

/** Keys with the same effect, and what they do. */
export interface Described {
  keys: string[];
  does: string;
}

/** Calls `act` for each key press on the page, except in menus and dialogs; in text fields only for Escape. */
export function keyboard<K extends Described>(described: readonly K[], help: () => void, act: (key: K) => void): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const inField = (event.target as Element).closest("select, input, textarea, dialog");
    if (inField && !(inField instanceof HTMLInputElement && event.key === "Escape")) return;
    if (event.key === "?") {
      help();
      return;
    }
    const key = described.find(({ keys }) => keys.includes(event.key));
    if (!key) return;
    event.preventDefault();
    act(key);
  });
}

/** Returns the member `by` places after `at`, wrapping around at the end. */
export function stepped<T>(members: readonly T[], at: number, by: number): T | undefined {
  return members[(at + by + members.length) % members.length];
}
