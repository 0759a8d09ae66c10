/** Where in a definition a cursor stands: the keys above it, read by indentation. */

export interface Place {
  /** Keys from the top; `-` is an item of a list. */
  readonly path: readonly string[];
  /** The key whose value is written; null where a key is written. */
  readonly key: string | null;
  /** What is written so far, and where in the line it begins. */
  readonly word: string;
  readonly from: number;
  /** The other keys of the same map, with the texts of their values. */
  readonly siblings: ReadonlyMap<string, string>;
  /** The category of the task around it; null outside of tasks. */
  readonly category: string | null;
}

const LINE = /^( *)((?:- +|-$)*)(.*)$/;
const KEY = /^(?:(["'])(.*?)\1|([\w$.-]+)) *:(?: +(.*)|)$/;
const MOST_LINES = 5_000;

interface Line {
  /** The columns of its dashes, and of what follows them. */
  readonly dashes: readonly number[];
  readonly column: number;
  readonly text: string;
  readonly key: string | null;
  readonly value: string;
}

/** Read a line; null for one that is empty or a comment. */
function read(text: string): Line | null {
  const [, blanks = "", marks = "", rest = ""] = LINE.exec(text) ?? [];
  if ((marks + rest).trim() === "" || rest.startsWith("#")) return null;
  const dashes = [...marks.matchAll(/-/g)].map((found) => blanks.length + found.index);
  const key = KEY.exec(rest);
  return {
    dashes,
    column: blanks.length + marks.length,
    text: rest,
    key: key === null ? null : (key[2] ?? key[3] ?? null),
    value: (key?.[4] ?? "").replace(/ +#.*$/, ""),
  };
}

/** Find the place of a cursor; `column` counts from 0. */
export function placeAt(lines: readonly string[], row: number, column: number): Place {
  const line = lines[row] ?? "";
  const before = line.slice(0, column);
  const brace = openBrace(before);
  return brace === null ? inBlock(lines, row, before) : inFlow(lines, row, line, before, brace);
}

function inBlock(lines: readonly string[], row: number, before: string): Place {
  const [, blanks = "", marks = "", rest = ""] = LINE.exec(before) ?? [];
  const column = blanks.length + marks.length;
  const dashes = [...marks.matchAll(/-/g)].map((found) => blanks.length + found.index);
  const key = /^([\w$.-]+) *: *(.*)$/.exec(rest);
  const own = key?.[1] ?? null;
  const { path, siblings, category } = around(lines, row, column, dashes);
  const word = key === null ? rest : (key[2] ?? "");
  if (own !== null) siblings.delete(own);
  return { path, key: own, word, from: before.length - word.length, siblings, category };
}

function inFlow(
  lines: readonly string[],
  row: number,
  line: string,
  before: string,
  brace: number,
): Place {
  const outer = inBlock(lines, row, line.slice(0, brace).replace(/[[{ ]+$/, " "));
  const isItem = /\[[^\]]*$/.test(line.slice(0, brace)) || outer.key === null;
  const path = [
    ...outer.path,
    ...(outer.key === null ? [] : [outer.key, ...(isItem ? ["-"] : [])]),
  ];
  const parts = split(before.slice(brace + 1));
  const last = parts.pop() ?? "";
  const rest = split(line.slice(before.length).split("}")[0] ?? "").slice(1);
  const siblings = new Map<string, string>();
  for (const part of [...parts, ...rest]) {
    const [name = "", value = ""] = keyOf(part);
    if (name !== "") siblings.set(name, value);
  }
  const written = /^\s*([\w$.-]+)\s*:\s*(.*)$/.exec(last);
  const word = written === null ? last.trimStart() : (written[2] ?? "");
  const isTask = path.at(-1) === "-" && path.at(-2) === "tasks";
  return {
    path,
    key: written?.[1] ?? null,
    word,
    from: before.length - word.length,
    siblings,
    category: isTask ? (siblings.get("category") ?? null) : outer.category,
  };
}

function keyOf(part: string): [string, string] {
  const at = part.indexOf(":");
  return at < 0 ? ["", ""] : [part.slice(0, at).trim(), part.slice(at + 1).trim()];
}

/** The parts of a flow map between commas that are not within quotes or brackets. */
function split(text: string): string[] {
  const plain = text.replace(/"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}/g, (part) =>
    "_".repeat(part.length),
  );
  const commas = [...plain.matchAll(/,/g)].map(({ index }) => index);
  const ends = [...commas, text.length];
  return ends.map((end, at) => text.slice(at === 0 ? 0 : (ends[at - 1] ?? 0) + 1, end));
}

/** The column of the innermost brace that is open at the end of a text. */
function openBrace(text: string): number | null {
  // What is quoted is blanked, so that its braces do not count.
  const plain = text.replace(/"[^"]*"|'[^']*'/g, (quoted) => " ".repeat(quoted.length));
  const open: number[] = [];
  for (const { 0: brace, index } of plain.matchAll(/[{}]/g)) {
    if (brace === "{") open.push(index);
    else open.pop();
  }
  return open.at(-1) ?? null;
}

/** Climbs from a line to the top, and notes the keys of the map in which it stands. */
class Climb {
  readonly path: string[] = [];
  readonly siblings = new Map<string, string>();
  #category: string | null = null;
  #isInTask = false;
  #isItem = false;
  #column: number;

  constructor(column: number, dashes: readonly number[]) {
    this.#column = column;
    this.#enter(dashes);
  }

  get isAtTop(): boolean {
    return this.#column === 0 && !this.#isItem && this.path.length > 0;
  }

  get category(): string | null {
    return this.#category;
  }

  take(line: Line): void {
    if (line.key === null) return;
    if (!this.#isItem && line.column === this.#column) this.#beside(line, line.key);
    else if (line.value === "" && this.#isAbove(line)) this.#above(line, line.key);
  }

  /** A key of the map through which the climb goes. */
  #beside(line: Line, key: string): void {
    if (this.path.length === 0) this.siblings.set(key, line.value);
    if (key === "category" && !this.#isInTask) this.#category ??= line.value;
    this.#enter(line.dashes);
  }

  #isAbove(line: Line): boolean {
    const isOfList = this.#isItem && line.column === this.#column && line.dashes.length === 0;
    return line.column < this.#column || isOfList;
  }

  #above(line: Line, key: string): void {
    if (key === "tasks" && this.path[0] === "-") this.#isInTask = true;
    this.path.unshift(key);
    this.#column = line.column;
    this.#isItem = false;
    this.#enter(line.dashes);
  }

  #enter(dashes: readonly number[]): void {
    for (const dash of dashes.toReversed()) {
      this.path.unshift("-");
      this.#column = dash;
      this.#isItem = true;
    }
  }
}

function around(
  lines: readonly string[],
  row: number,
  column: number,
  dashes: readonly number[],
): { path: string[]; siblings: Map<string, string>; category: string | null } {
  const climb = new Climb(column, dashes);
  below(lines, row, column, climb.siblings);
  for (let above = row - 1; above >= Math.max(0, row - MOST_LINES); above--) {
    if (climb.isAtTop) break;
    const line = read(lines[above] ?? "");
    if (line !== null) climb.take(line);
  }
  const { path, siblings } = climb;
  const isTask = path.at(-1) === "-" && path.at(-2) === "tasks";
  return { path, siblings, category: isTask ? (siblings.get("category") ?? null) : climb.category };
}

/** Note the keys that follow in the same map. */
function below(
  lines: readonly string[],
  row: number,
  column: number,
  siblings: Map<string, string>,
): void {
  for (let at = row + 1; at < Math.min(lines.length, row + MOST_LINES); at++) {
    const line = read(lines[at] ?? "");
    if (line === null) continue;
    if (line.column < column || (line.dashes[0] ?? column) < column) return;
    if (line.column === column && line.dashes.length === 0 && line.key !== null) {
      siblings.set(line.key, line.value);
    }
  }
}
