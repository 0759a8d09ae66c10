/** Searches that a reader has given names, kept by the browser. */

export interface View {
  readonly name: string;
  readonly text: string;
}

const STORED = "rillflow.views";
export const MOST_VIEWS = 50;
const LONGEST_NAME = 80;

/** The views that a stored text has; anything else in it is passed over. */
export function viewsOf(stored: string | null): View[] {
  let value: unknown;
  try {
    value = JSON.parse(stored ?? "[]");
  } catch {
    return [];
  }
  return (Array.isArray(value) ? value : []).filter(isView).slice(0, MOST_VIEWS);
}

function isView(value: unknown): value is View {
  if (typeof value !== "object" || value === null) return false;
  const { name, text } = value as Record<string, unknown>;
  return typeof name === "string" && name !== "" && typeof text === "string";
}

/** Add a view; one of the same name is replaced, and the oldest ones go. */
export function withView(views: readonly View[], name: string, text: string): View[] {
  const named = name.trim().slice(0, LONGEST_NAME);
  if (named === "") return [...views];
  return [...views.filter((view) => view.name !== named), { name: named, text }].slice(-MOST_VIEWS);
}

export function loadViews(): View[] {
  try {
    return viewsOf(localStorage.getItem(STORED));
  } catch {
    return [];
  }
}

export function storeViews(views: readonly View[]): void {
  try {
    localStorage.setItem(STORED, JSON.stringify(views));
  } catch {
    // A browser that keeps nothing forgets them with the page.
  }
}
