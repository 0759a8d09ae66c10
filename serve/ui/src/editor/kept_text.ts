/** Texts that are not saved yet, kept by the tab of the browser. */

const PREFIX = "rillflow.draft.";

export function keptText(name: string): string | null {
  return kept()?.getItem(PREFIX + name) ?? null;
}

/** Keep a text, or forget it; a tab without room for it keeps nothing. */
export function keepText(name: string, text: string | null): void {
  try {
    if (text === null) kept()?.removeItem(PREFIX + name);
    else kept()?.setItem(PREFIX + name, text);
  } catch {
    kept()?.removeItem(PREFIX + name);
  }
}

function kept(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
