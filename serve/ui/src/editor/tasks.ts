/** The tasks of a definition as they stand in its text, and changes of the text that keep comments. */

import { isMap, isScalar, isSeq, type Node, parseDocument, type YAMLMap } from "yaml";

export interface TaskPlace {
  readonly name: string;
  /** From the first character of the task to after its last one. */
  readonly from: number;
  readonly to: number;
  /** Where its name stands. */
  readonly nameAt: number;
}

const MOST_CHARACTERS = 2_000_000;

/** Find the tasks of a text, in their order; of one that cannot be read, those that can. */
export function tasksIn(text: string): TaskPlace[] {
  if (text.length > MOST_CHARACTERS) return [];
  return [...mapsIn(parsed(text).contents, false)].flatMap(placeOf);
}

/** The maps of tasks below a node; `isTask` says whether it is one, or a list of them. */
function* mapsIn(node: unknown, isTask: boolean): Generator<YAMLMap> {
  if (isSeq(node)) for (const each of node.items) yield* mapsIn(each, isTask);
  if (!isMap(node)) return;
  if (isTask) yield node;
  for (const pair of node.items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : "";
    if (key === "tasks" || key === "choices") yield* mapsIn(pair.value, key === "tasks");
  }
}

function parsed(text: string) {
  return parseDocument(text, { version: "1.1", logLevel: "silent", uniqueKeys: false });
}

function placeOf(map: YAMLMap): TaskPlace[] {
  const name = map.get("name", true) as Node | undefined;
  if (!isScalar(name) || map.range == null || name.range == null) return [];
  const [from, to] = map.range;
  return [{ name: String(name.value), from, to, nameAt: name.range[0] }];
}

/** The task around a position, the innermost one. */
export function taskAt(tasks: readonly TaskPlace[], position: number): string | null {
  return tasks.findLast(({ from, to }) => from <= position && position < to)?.name ?? null;
}

/** The text with even spaces and line breaks; null where it cannot be read. */
export function formatted(text: string): string | null {
  if (text.length > MOST_CHARACTERS) return null;
  const document = parsed(text);
  if (document.errors.length > 0 || document.contents === null) return null;
  return document.toString({ lineWidth: 100, indent: 2, indentSeq: true });
}

const NEW_TASKS: Readonly<Record<string, readonly string[]>> = {
  function: ["pattern: task_sync", "resourceName: http://127.0.0.1:8081/function/name"],
  pass: [],
  suspense: ['conditions: ["$.input.[?(@.go == true)]"]'],
  switch: ["switches: []"],
  return: ['conditions: ["$.input.[?(@.done == true)]"]'],
  foreach: [
    "iterationMapping: { collection: $.input.items, item: item }",
    "tasks:",
    "  - { name: {name}Each, category: pass }",
  ],
  choice: [
    "choices:",
    '  - condition: "$.input.[?(@.kind == 1)]"',
    "    tasks:",
    "      - { name: {name}Branch, category: pass }",
  ],
};
export const CATEGORIES = Object.keys(NEW_TASKS);

export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

/** A name that no task has: `pass`, `pass2`, `pass3`. */
export function freeName(tasks: readonly TaskPlace[], base: string): string {
  const names = new Set(tasks.map(({ name }) => name));
  let name = base;
  for (let number = 2; names.has(name); number += 1) name = `${base}${number}`;
  return name;
}

/** Add a task after another one, which then leads to it; without one, at the end. */
export function taskAdded(text: string, category: string, after: string | null): Edit[] | null {
  const tasks = tasksIn(text);
  const name = freeName(tasks, category);
  const body = (NEW_TASKS[category] ?? []).map((line) => line.replaceAll("{name}", name));
  const place = after === null ? topTasks(text).at(-1) : tasks.find((each) => each.name === after);
  if (place === undefined) return null;
  const start = text.lastIndexOf("\n", place.from - 1) + 1;
  const head = text.slice(start, place.from);
  const column = head.indexOf("-");
  if (column < 0 || head.trim() !== "-") return null; // its list is not written line by line
  const indent = " ".repeat(column);
  const lines = [
    `- name: ${name}`,
    ...[`category: ${category}`, ...body].map((line) => `  ${line}`),
  ];
  const end = lineEnd(text, text.slice(0, place.to).trimEnd().length);
  const added: Edit = {
    from: end,
    to: end,
    insert: lines.map((line) => `\n${indent}${line}`).join(""),
  };
  return after === null ? [added] : [...(connected(text, after, name) ?? []), added];
}

/** Let a task lead to another one: its `next` has that name then. */
export function connected(text: string, from: string, to: string): Edit[] | null {
  const task = mapOf(text, from);
  if (task === null || task.range == null) return null;
  const next = task.get("next", true) as Node | undefined;
  if (isScalar(next) && next.range != null) {
    const names = String(next.value ?? "")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
    if (names.includes(to)) return [];
    const insert = [...names, to].join(",");
    return [{ from: next.range[0], to: next.range[1], insert: quoted(insert) }];
  }
  const name = task.get("name", true) as Node | undefined;
  if (next !== undefined || name?.range == null) return null;
  if (task.flow === true) {
    return [{ from: name.range[1], to: name.range[1], insert: `, next: ${quoted(to)}` }];
  }
  const line = text.lastIndexOf("\n", task.range[0] - 1) + 1;
  const indent = " ".repeat(task.range[0] - line);
  const end = lineEnd(text, name.range[1]);
  return [{ from: end, to: end, insert: `\n${indent}next: ${quoted(to)}` }];
}

/** The end of the line of a position, after a comment that stands in it. */
function lineEnd(text: string, position: number): number {
  const end = text.indexOf("\n", position);
  return end < 0 ? text.length : end;
}

function quoted(text: string): string {
  return /^[\w$-]+$/.test(text) ? text : JSON.stringify(text);
}

function mapOf(text: string, name: string): YAMLMap | null {
  const maps = [...mapsIn(parsed(text).contents, false)];
  return maps.find((map) => map.get("name") === name) ?? null;
}

function topTasks(text: string): TaskPlace[] {
  const contents = parsed(text).contents;
  const tasks = isMap(contents) ? contents.get("tasks", true) : null;
  return isSeq(tasks) ? tasks.items.filter((each) => isMap(each)).flatMap(placeOf) : [];
}
