/** What the editor reads from a text that is being written: places, keys, tasks, changes. */

import { expect, test } from "vitest";
import type { DefinitionGraph } from "../api/types";
import { mayConnect } from "../execution/graph/layout";
import { firstOpen, levelsOf } from "./draft_graph";
import { placeAt } from "./places";
import { keysAt, meaningAt, type Schema, valuesAt } from "./schema";
import { connected, type Edit, formatted, taskAdded, taskAt, tasksIn } from "./tasks";

const SCHEMA: Schema = {
  properties: {
    workspace: { type: "string", description: "The name space." },
    strict: { anyOf: [{ type: "boolean" }, { type: "null" }] },
    tasks: {
      type: "array",
      items: { oneOf: [{ $ref: "#/$defs/Call" }, { $ref: "#/$defs/Each" }] },
    },
  },
  $defs: {
    Call: {
      properties: {
        category: { const: "function" },
        name: { type: "string" },
        pattern: { enum: ["task_sync", "task_async"] },
        retry: { $ref: "#/$defs/Retry" },
        inputMappings: { type: "array", items: { $ref: "#/$defs/Rule" } },
      },
    },
    Each: {
      properties: {
        category: { const: "foreach" },
        name: { type: "string" },
        tasks: { type: "array", items: { oneOf: [{ $ref: "#/$defs/Call" }] } },
      },
    },
    Retry: { properties: { maxRetryTimes: { type: "integer", description: "How often." } } },
    Rule: { properties: { source: { type: "string" }, target: { type: "string" } } },
  },
};

/** The place of the mark `|` in a text. */
function marked(text: string) {
  const [before = ""] = text.split("|");
  const lines = text.replace("|", "").split("\n");
  const row = before.split("\n").length - 1;
  return placeAt(lines, row, before.length - (before.lastIndexOf("\n") + 1));
}

function labels(text: string): string[] {
  const place = marked(text);
  const offers = place.key === null ? keysAt(SCHEMA, place) : valuesAt(SCHEMA, place);
  return offers.map(({ label }) => label);
}

test.each([
  ["|", []],
  ["workspace: a\ntasks:\n  - name: x\n    |", ["tasks", "-"]],
  ["tasks:\n- name: x\n  |", ["tasks", "-"]],
  ["tasks:\n  - name: x\n    retry:\n      |", ["tasks", "-", "retry"]],
  ["tasks:\n  - |", ["tasks", "-"]],
  ["tasks:\n  - { name: a, | }", ["tasks", "-"]],
  [
    "tasks:\n  - name: a\n    inputMappings:\n      - { source: 'a{b', | }",
    ["tasks", "-", "inputMappings", "-"],
  ],
  ["tasks:\n  - name: a\n    inputMappings: [{ | }]", ["tasks", "-", "inputMappings", "-"]],
  [
    "tasks:\n  - name: a\n    # a comment\n\n    tasks:\n      - name: b\n        |",
    ["tasks", "-", "tasks", "-"],
  ],
])("the path of %j is %j", (text, path) => {
  expect(marked(text).path).toEqual(path);
});

test("keys that are there are not offered, those below included", () => {
  expect(labels("workspace: a\n|\nstrict: true")).toEqual(["tasks"]);
  expect(labels("tasks:\n  - name: a\n    category: foreach\n    |")).toEqual(["tasks"]);
  expect(labels("tasks:\n  - |\n    category: function\n    pattern: task_sync")).toEqual([
    "name",
    "retry",
    "inputMappings",
  ]);
  expect(labels("tasks:\n  - { category: foreach, | }")).toEqual(["name", "tasks"]);
});

test("values are offered by the key, and those of a task by its category", () => {
  expect(labels("strict: |")).toEqual(["true", "false"]);
  expect(labels("tasks:\n  - category: |")).toEqual(["function", "foreach"]);
  expect(labels("tasks:\n  - category: function\n    pattern: ta|")).toEqual([
    "task_sync",
    "task_async",
  ]);
});

test("a key of a part below a task is explained", () => {
  const place = marked("tasks:\n  - category: function\n    retry:\n      |maxRetryTimes: 3");
  expect(meaningAt(SCHEMA, place, "maxRetryTimes")?.info).toBe("How often.");
  expect(meaningAt(SCHEMA, place, "nothing")).toBeNull();
});

const TEXT = `workspace: a   # the space
tasks:
  # the first
  - name: one # calls
    category: pass
  - { name: two, category: pass }
  - name: each
    category: foreach
    tasks:
      - { name: inner, category: pass }
`;

function changed(text: string, edits: readonly Edit[] | null): string {
  if (edits === null) return "";
  return [...edits]
    .sort((a, b) => b.from - a.from)
    .reduce((now, { from, to, insert }) => now.slice(0, from) + insert + now.slice(to), text);
}

test("tasks are found where they stand, the innermost first", () => {
  const tasks = tasksIn(TEXT);
  expect(tasks.map(({ name }) => name)).toEqual(["one", "two", "each", "inner"]);
  expect(taskAt(tasks, TEXT.indexOf("inner"))).toBe("inner");
  expect(taskAt(tasks, TEXT.indexOf("foreach"))).toBe("each");
  expect(taskAt(tasks, 0)).toBeNull();
  expect(tasksIn("tasks: [{name: a")).toHaveLength(1);
  expect(tasksIn("- <script>\n\t: {")).toEqual([]);
});

test("a text is formatted with its comments, and one that cannot be read is not", () => {
  const spaced = formatted(TEXT.replace("workspace: a ", "workspace:    a "));
  expect(spaced).toContain("workspace: a # the space");
  expect(spaced).toContain("# the first");
  expect(spaced).toContain("{ name: two, category: pass }");
  expect(formatted("a: [")).toBeNull();
});

test("a task is added after another one, which leads to it then; comments stay", () => {
  const text = changed(TEXT, taskAdded(TEXT, "suspense", "one"));
  expect(tasksIn(text).map(({ name }) => name)).toEqual([
    "one",
    "suspense",
    "two",
    "each",
    "inner",
  ]);
  expect(text).toContain("- name: one # calls\n    next: suspense\n    category: pass\n  - name:");
  expect(changed(TEXT, taskAdded(TEXT, "pass", null))).toMatch(/inner.*\n {2}- name: pass\n/);
  expect(taskAdded("tasks: [{name: a, category: pass}]", "pass", "a")).toBeNull();
});

test("a task leads to one more", () => {
  expect(changed(TEXT, connected(TEXT, "two", "each"))).toContain("name: two, next: each,");
  const next = TEXT.replace("name: two,", "name: two, next: each,");
  expect(changed(next, connected(next, "two", "one"))).toContain('next: "each,one",');
  expect(connected(next, "two", "each")).toEqual([]);
  expect(connected(TEXT, "nobody", "one")).toBeNull();
});

const GRAPH: DefinitionGraph = {
  nodes: [
    {
      name: "each",
      title: null,
      category: "foreach",
      pattern: null,
      resource: null,
      branches: [
        {
          condition: null,
          graph: {
            nodes: [
              { name: "a", title: null, category: "pass", pattern: null, resource: null },
              { name: "b", title: null, category: "pass", pattern: null, resource: null },
            ],
            edges: [{ from: "a", to: "b", kind: "next", label: null }],
          },
        },
      ],
    },
  ],
  edges: [],
};

test("groups of a definition are open, and named as in an execution", () => {
  expect(firstOpen(GRAPH)).toEqual(["each_0"]);
  const levels = levelsOf(GRAPH, ["each_0"], () => "each item");
  expect(levels.get("")?.nodes[0]?.group?.note).toBe("each item");
  expect(levels.get("each_0")?.nodes.map(({ name }) => name)).toEqual(["each_0-a", "each_0-b"]);
  expect(levels.get("each_0")?.edges?.[0]?.to).toBe("each_0-b");
  expect([...levelsOf(GRAPH, [], () => "").keys()]).toEqual([""]);
});

test("a line may be drawn between tasks of one level only", () => {
  expect(mayConnect("a", "b")).toBe(true);
  expect(mayConnect("each_0-a", "each_0-b")).toBe(true);
  expect(mayConnect("a", "a")).toBe(false);
  expect(mayConnect("a", "each_0-b")).toBe(false);
  expect(mayConnect("each_0-a", "other_0-b")).toBe(false);
});
