/** The text of the search box: words `key:value`, separated by spaces. */

export const SEARCH_KEYS = ["status", "flow", "since", "until", "id", "parent", "version"] as const;
export type SearchKey = (typeof SEARCH_KEYS)[number];

export const SEARCH_STATUSES = [
  "unfinished",
  "running",
  "waiting",
  "delayed",
  "held",
  "succeeded",
  "failed",
  "cancelled",
] as const;

export const RANGES = ["15m", "1h", "24h", "7d"] as const;

/** The words of a search in their order; between quotation marks a space ends no word. */
export function wordsOf(text: string): string[] {
  return text.match(/(?:[^\s"]+|"[^"]*"?)+/g) ?? [];
}

/** Whether a search has a word for a value of the context. */
export function hasContext(text: string): boolean {
  return wordsOf(text).some((word) => word.startsWith("context."));
}

/** The value of a key; of several, the last one. */
export function searchValue(text: string, key: SearchKey): string | null {
  const word = wordsOf(text).findLast((each) => each.startsWith(`${key}:`));
  return word === undefined ? null : word.slice(key.length + 1);
}

/** Set the value of a key where it stands, or at the end; `null` takes it away. */
export function withValue(text: string, key: SearchKey, value: string | null): string {
  const words = wordsOf(text);
  const place = words.findIndex((word) => word.startsWith(`${key}:`));
  const others = words.filter((word) => !word.startsWith(`${key}:`));
  if (value === null || value === "") return others.join(" ");
  others.splice(place < 0 ? others.length : place, 0, `${key}:${value}`);
  return others.join(" ");
}

/** Add a status to the search, or take it away. */
export function toggled(text: string, status: string): string {
  const chosen = statusesOf(text);
  const next = chosen.includes(status)
    ? chosen.filter((each) => each !== status)
    : [...chosen, status];
  return withValue(text, "status", next.join(","));
}

export function statusesOf(text: string): string[] {
  return (searchValue(text, "status") ?? "").split(",").filter((each) => each !== "");
}

/** A word that is neither a field with its value nor a workflow, and what may have been meant. */
export interface UnknownWord {
  readonly word: string;
  readonly field: string;
  readonly isField: boolean;
  readonly meant: readonly string[];
}

/**
 * The first word that the server does not understand.
 *
 * @param flows The names of all workspaces and workflows.
 */
export function unknownWord(text: string, flows: readonly string[]): UnknownWord | null {
  const workspaces = new Set(flows.map((flow) => flow.split(":")[0]));
  for (const word of wordsOf(text)) {
    const [field = "", ...rest] = word.split(":");
    const isKnown = (SEARCH_KEYS as readonly string[]).includes(field) || workspaces.has(field);
    if (isKnown || field.startsWith("context.") || isId(word)) continue;
    const isField = rest.length > 0;
    const value = rest.join(":");
    const near = nearest(field, [...(isField ? SEARCH_KEYS : []), ...workspaces] as string[]);
    const meant = near === null ? [] : [isField ? `${near}:${value}` : near];
    if (isField && value !== "" && /^[\w.-]+$/.test(field)) meant.push(`context.${word}`);
    return { word, field, isField, meant };
  }
  return null;
}

function isId(word: string): boolean {
  return /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(word);
}

/** The name that takes fewest changes of letters, if they are no more than half of them. */
function nearest(word: string, names: readonly string[]): string | null {
  if (word.length > 64) return null;
  const ranked = names
    .map((name) => [changesBetween(word.toLowerCase(), name.toLowerCase()), name] as const)
    .filter(([changes, name]) => 2 * changes <= Math.max(name.length, word.length));
  ranked.sort(([one], [other]) => one - other);
  return ranked[0]?.[1] ?? null;
}

/** How many letters are to be added, taken away or replaced (Levenshtein). */
function changesBetween(one: string, other: string): number {
  let before = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let row = 1; row <= one.length; row += 1) {
    const now = [row];
    for (let column = 1; column <= other.length; column += 1) {
      const isSame = one[row - 1] === other[column - 1];
      now.push(
        Math.min(
          (before[column] ?? 0) + 1,
          (now[column - 1] ?? 0) + 1,
          (before[column - 1] ?? 0) + Number(!isSame),
        ),
      );
    }
    before = now;
  }
  return before[other.length] ?? 0;
}

/** The word in which the cursor stands, with its place. */
export function wordAt(text: string, cursor: number): { word: string; from: number; to: number } {
  const from = text.slice(0, cursor).search(/\S*$/);
  const rest = text.slice(cursor).search(/\s|$/);
  const to = cursor + Math.max(rest, 0);
  return { word: text.slice(from, to), from, to };
}

/**
 * What may stand where the cursor stands.
 *
 * @param flows The names of all workflows.
 * @param searchKeys Those that the definition of the workflow declares, such as `order.id`.
 */
export function completions(
  word: string,
  flows: readonly string[],
  searchKeys: readonly string[] = [],
): string[] {
  const at = word.indexOf(":");
  if (at < 0) {
    const all = [...SEARCH_KEYS, ...searchKeys.map((key) => `context.${key}`)];
    const keys = all.map((key) => `${key}:`).filter((key) => key.startsWith(word));
    return word === "" ? keys : [...keys, ...starting(flows, word).map((flow) => `flow:${flow}`)];
  }
  const [key, value] = [word.slice(0, at), word.slice(at + 1)];
  if (key === "status") {
    const given = value.split(",");
    const last = given.pop() ?? "";
    const before = given.map((each) => `${each},`).join("");
    return starting(SEARCH_STATUSES, last)
      .filter((each) => !given.includes(each))
      .map((each) => `status:${before}${each}`);
  }
  if (key === "flow") return starting(flows, value).map((flow) => `flow:${flow}`);
  if (key === "since") return starting(RANGES, value).map((range) => `since:${range}`);
  return [];
}

function starting(all: readonly string[], text: string): string[] {
  const low = text.toLowerCase();
  const found = all.filter((each) => each.toLowerCase().includes(low) && each !== text);
  return found
    .sort(
      (a, b) => Number(!a.toLowerCase().startsWith(low)) - Number(!b.toLowerCase().startsWith(low)),
    )
    .slice(0, 8);
}
