// Light or dark: as the system is, unless the user chose one.

export type Theme = "auto" | "light" | "dark";

/** Whether the system is dark; a page follows its changes unless the user chose a theme. */
export const DARK = matchMedia("(prefers-color-scheme: dark)");

export function isDark({ theme }: { theme: Theme }): boolean {
  return theme === "dark" || (theme === "auto" && DARK.matches);
}

/** Returns the change from light to dark, or from dark to light. */
export function otherTheme(state: { theme: Theme }): { theme: Theme } {
  return { theme: isDark(state) ? "light" : "dark" };
}
