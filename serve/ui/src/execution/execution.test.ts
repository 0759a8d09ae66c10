import { expect, test } from "vitest";
import { ALL } from "../access";
import type {
  Execution,
  Graph,
  GraphEdge,
  GraphNode,
  GroupState,
  JournalEvent,
  RuleList,
  Status,
  TaskDetail,
  Wait,
} from "../api/types";
import { doneToAll } from "../executions/done_to_all";
import { clock } from "../format";
import { sizeOfCut } from "../parts/json_view";
import { eventSentence } from "./event_words";
import { partsOf } from "./group_bar";
import { sentenceOf } from "./header";
import { deedsOf as deedsOfTask } from "./inspector";
import { jsonObject } from "./json_object";
import { toggledItems } from "./open_items";
import { redoPlan } from "./redo_plan";
import { ticks, tickWord } from "./ruler";
import { deedsOf, doneOf, inputOf } from "./steering";
import { toldOf, warningsOutside } from "./told";
import { waitSentence } from "./waiting";

const NOW = 1_764_237_660_000;

const EXECUTION = {
  status: "waiting",
  ended_ms: null,
  paused: false,
  cancelled: false,
  tasks: {},
  failure: null,
  message: null,
  code: null,
  progress: { done: 3, total: 5 },
  wait: null,
} as unknown as Execution;

function wait(kind: string, more: Partial<Wait> = {}): Wait {
  return { kind, task: "pay", since_ms: NOW - 240_000, until_ms: null, ...more };
}

test("a wait is one sentence: for what, since when, and what comes next", () => {
  expect(waitSentence(wait("callback"), NOW)).toBe("Waiting for the callback of pay, for 4 min.");
  expect(
    waitSentence(
      wait("retry", {
        until_ms: NOW + 48_000,
        detail: { attempt: 2, most_attempts: 5, error: "503" },
      }),
      NOW,
    ),
  ).toBe("Retry 2 of 5 of pay, in 48 s, it failed with 503.");
  expect(
    waitSentence(wait("groups", { detail: { total: 3, done: 1 } }), NOW, { isShort: true }),
  ).toBe("Waiting for 2 of 3 items of pay, for 4 min");
});

test("a kind of wait that this page does not know is told in the server's words", () => {
  expect(
    waitSentence(wait("tides", { sentence: "Waiting for the tide" }), NOW, { isShort: true }),
  ).toBe("Waiting for the tide, for 4 min");
});

test("an execution says what it does or has come to", () => {
  expect(sentenceOf({ ...EXECUTION, status: "succeeded" }, NOW)).toBe("All tasks have ended well.");
  const failure = {
    task: "reserve",
    base: "reserve",
    code: "409",
    message: "out of stock",
    hint: null,
    sentence: null,
  };
  expect(sentenceOf({ ...EXECUTION, status: "failed", failure }, NOW)).toBe(
    "Failed at reserve: 409 out of stock",
  );
  expect(sentenceOf({ ...EXECUTION, status: "cancelled", cancelled: true }, NOW)).toBe(
    "It was cancelled.",
  );
  expect(sentenceOf({ ...EXECUTION, wait: wait("paused", { since_ms: null }) }, NOW)).toBe(
    "Paused.",
  );
});

test("a success tells of mapping warnings, and a failure in plain words where it happened", () => {
  const succeeded = { ...EXECUTION, status: "succeeded" as const };
  expect(sentenceOf({ ...succeeded, mapping_warnings: 3 }, NOW)).toBe(
    "All tasks have ended well, with 3 mapping warnings.",
  );
  expect(sentenceOf({ ...succeeded, mapping_warnings: 1 }, NOW)).toContain("1 mapping warning.");
  const failure = {
    task: "a",
    base: "a",
    code: null,
    message: "handle functionPattern protocol: htppdo not support",
    hint: null,
    sentence: "nothing serves the protocol htpp",
  };
  const failed = { ...EXECUTION, status: "failed" as const, failure };
  expect(sentenceOf(failed, NOW)).toBe("Failed at a: nothing serves the protocol htpp");
  expect(toldOf(failure).wire).toBe(failure.message);
  const own = { ...failure, task: "", base: "", message: "timeout", sentence: "its time was up" };
  expect(sentenceOf({ ...failed, failure: own }, NOW)).toBe(
    "The execution has failed: its time was up",
  );
});

test("warnings of a list that was not applied are told beside the rules of the others", () => {
  const of = (mappings: string, number: number) =>
    ({ mappings, number, rule: "", kind: "no_output", reason: "" }) as const;
  const rules = { rules: [{}] } as unknown as RuleList;
  const warnings = [of("inputMappings", 1), of("outputMappings", 0), of("outputMappings", 2)];
  const found = { inputs: rules, outputs: null };
  expect(warningsOutside(warnings, found)).toEqual(warnings.slice(1));
  expect(warningsOutside(warnings, { ...found, outputs: rules })).toEqual([warnings[1]]);
});

test("a pause and a cancellation tell when, and by whose key", () => {
  const time = clock(NOW - 240_000, NOW, "en-GB");
  const paused = wait("paused", { detail: { by: "ops" } });
  expect(waitSentence(paused, NOW)).toBe(`Paused by key ops at ${time}, for 4 min.`);
  expect(waitSentence(wait("paused"), NOW)).toBe(`Paused at ${time}, for 4 min.`);
  const calling = { ...EXECUTION, wait: wait("call"), paused: true };
  expect(sentenceOf({ ...calling, paused_ms: NOW - 240_000, paused_by: "ops" }, NOW)).toBe(
    `pay is being called, for 4 min. Paused by key ops at ${time}, for 4 min.`,
  );
  const ended = { ...EXECUTION, cancelled: true, cancelled_by: "ops", ended_ms: Date.now() };
  expect(sentenceOf(ended, NOW)).toMatch(/^Cancelled by key ops at \d\d:\d\d:\d\d\.$/);
});

test("events are told in the reader's language, and unknown ones in the server's words", () => {
  const event = { kind: "pause_requested", task: "", facts: { by: "ops" }, sentence: "?" };
  const said = (more: object) => eventSentence({ ...event, ...more } as unknown as JournalEvent);
  expect(said({})).toBe("The execution was paused by the key ops.");
  const answered = { kind: "dispatch_answered", task: "pay" };
  expect(said({ ...answered, facts: { http_status: 202 } })).toBe("pay answered 202.");
  expect(said({ ...answered, facts: null })).toBe("pay answered.");
  expect(said({ ...answered, facts: { error: "503." } })).toBe("The call of pay failed: 503.");
  expect(said({ kind: "timer_fired", task: "", facts: { timer: "timeout" } })).toBe(
    "The timeout timer of the execution came due.",
  );
  expect(said({ kind: "tides", sentence: "The tide came in." })).toBe("The tide came in.");
});

test("what was done is taken back, or leads to what came of it", () => {
  const one = { ...EXECUTION, execution_id: "shop:order_c_1", tasks: { failed: 2 } };
  expect(doneOf("pause", one)).toMatchObject({ text: "Paused.", undo: expect.any(Function) });
  expect(doneOf("resume", one)).toMatchObject({ text: "Resumed.", undo: expect.any(Function) });
  expect(doneOf("cancel", one).links).toEqual([
    ["#/execution/shop%3Aorder_c_1?tab=events", "Show the events"],
  ]);
  const failure = {
    task: "pay",
    base: "pay",
    code: null,
    message: null,
    hint: null,
    sentence: null,
  };
  expect(doneOf("redo", { ...one, failure })).toEqual({
    text: "2 failed tasks run again.",
    links: [["#/execution/shop%3Aorder_c_1?task=pay", "Show pay"]],
  });
  const ids = Array.from({ length: 7 }, (_, number) => `shop:order_c_${number}`);
  expect(doneToAll("cancel", ids).links).toHaveLength(5);
  expect(doneToAll("resume", ids)).toMatchObject({
    text: "7 resumed.",
    undo: expect.any(Function),
  });
});

test("only what can be done is offered", () => {
  expect(deedsOf(EXECUTION, ALL)).toEqual(["pause", "cancel", "again"]);
  expect(deedsOf({ ...EXECUTION, paused: true }, ALL)).toEqual(["resume", "cancel", "again"]);
  const held: Execution = { ...EXECUTION, status: "held", quarantine: "it crashed 5 times" };
  expect(deedsOf(held, ALL)).toEqual(["redo", "pause", "cancel", "again"]);
  const failed: Execution = { ...EXECUTION, status: "failed", ended_ms: NOW };
  expect(deedsOf(failed, ALL)).toEqual(["redo", "again"]);
  const task = { status: "waiting", wait: wait("callback", { actions: ["finish"] }) } as TaskDetail;
  expect(deedsOfTask(task, ALL)).toEqual(["finish"]);
  const failedTask: TaskDetail = { ...task, status: "failed", wait: null };
  expect(deedsOfTask(failedTask, ALL)).toEqual(["redo"]);
});

test("a key is offered nothing that its role does not allow", () => {
  const task = { status: "waiting", wait: wait("callback", { actions: ["finish"] }) } as TaskDetail;
  const as = (role: "viewer" | "submitter") => ({ role, workspaces: [] });
  expect(deedsOf(EXECUTION, as("viewer"))).toEqual([]);
  expect(deedsOfTask(task, as("viewer"))).toEqual([]);
  expect(deedsOf(EXECUTION, as("submitter"))).toEqual(["again"]);
  expect(deedsOfTask({ ...task, status: "failed" }, as("submitter"))).toEqual(["finish"]);
});

test("one item of a group is open at a time, and what is open in it closes with it", () => {
  expect(toggledItems([], "a_0")).toEqual(["a_0"]);
  expect(toggledItems(["a_0", "b_1", "a_0-c_2"], "a_3")).toEqual(["b_1", "a_3"]);
  expect(toggledItems(["a_0", "a_0-c_2"], "a_0")).toEqual([]);
  expect(toggledItems(["a_0"], "a_0-c_2")).toEqual(["a_0", "a_0-c_2"]);
});

test("items that are in no count have not started", () => {
  const counts = { failed: 1, succeeded: 3 };
  const group = { total: 10, counts, strip: "" } as unknown as GroupState;
  expect(partsOf(group)).toEqual([
    ["failed", 1],
    ["succeeded", 3],
    ["not_started", 6],
  ]);
});

test("items that wait are told from those that run where the strip has all of them", () => {
  const counts = { running: 3, succeeded: 1 };
  const group = { total: 4, counts, strip: "srwh" } as unknown as GroupState;
  expect(partsOf(group).map(([status]) => status)).toEqual([
    "running",
    "waiting",
    "held",
    "succeeded",
  ]);
  expect(partsOf({ ...group, total: 500, counts: { running: 500 } })).toEqual([["running", 500]]);
});

test("a form takes a JSON object and nothing else", () => {
  expect(jsonObject('{"a": 1}')).toEqual({ a: 1 });
  expect(jsonObject("")).toEqual({});
  for (const text of ["[1]", "1", "null", "{"]) expect(jsonObject(text), text).toBeNull();
  expect(inputOf(undefined)).toEqual({});
});

test("a ruler has few round marks", () => {
  expect(ticks(41_000)).toEqual([0, 10_000, 20_000, 30_000]);
  const within = ticks(2_000, 12_300);
  expect(within.map((ms) => tickWord(ms, 2_000))).toEqual(["12.5 s", "13.0 s", "13.5 s", "14.0 s"]);
  for (const ms of [1, 7, 950, 12_345, 3_600_000, 86_400_000 * 9]) {
    expect(ticks(ms).length).toBeLessThanOrEqual(7);
    expect(ticks(ms).at(-1)).toBeLessThanOrEqual(ms);
  }
});

test.each([700, 320, 180, 70])("on a ruler of %d px each word has room", (width) => {
  for (const ms of [950, 12_345, 41_000, 3_600_000]) {
    const places = ticks(ms, 0, width).map((at) => (at / ms) * width);
    for (const [index, place] of places.entries()) {
      expect((places[index + 1] ?? width) - place).toBeGreaterThanOrEqual(64 - 1e-6);
    }
    expect(places.length).toBeGreaterThan(0);
  }
});

test("a size that was not counted to its end is not told as if it were exact", () => {
  const cut = { path: "$.context.x", kind: "list", bytes: 4_000_000, length: 90_000 };
  expect(sizeOfCut(cut)).not.toContain("more than");
  expect(sizeOfCut({ ...cut, at_least: true })).toBe(`more than ${sizeOfCut(cut)}`);
});

const node = (name: string, status: Status): GraphNode =>
  ({ name, status, group: null }) as GraphNode;

test("a redo runs again what has started after a task, and all that it is inside of", () => {
  const edge = (from: string, to: string) => ({ from, to }) as GraphEdge;
  const graph = {
    nodes: [
      node("gather", "succeeded"),
      node("filming", "failed"),
      node("concat", "skipped"),
      node("publish", "not_started"),
      node("count", "succeeded"),
    ],
    edges: [
      edge("gather", "filming"),
      edge("filming", "concat"),
      edge("concat", "publish"),
      edge("gather", "count"),
    ],
  } as unknown as Graph;
  const from = (name: string) => redoPlan(graph, name)?.after.map((each) => each.name);
  expect(from("gather")).toEqual(["filming", "concat", "count"]);
  expect(from("filming_0-voice")).toEqual(["concat"]);
  expect(redoPlan(graph, "filming_0-voice")?.top.name).toBe("filming");
  expect(from("publish")).toBeUndefined();
  expect(from("unknown")).toBeUndefined();
});
