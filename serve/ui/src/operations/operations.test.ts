/** The charts of the last hours show what was measured, and gaps where nothing was. */

import { expect, test } from "vitest";
import type { Minutes, Trigger } from "../api/types";
import { axisWidth, countLabel, LENGTH_STEPS, lengthLabel, momentLabel } from "./axes";
import { figuresOf } from "./holdings";
import { failedCalls, lonely, type Point, pointsOf, withGaps } from "./lines";
import { clusterProblems, latenessOf, otherProblems, problemWord } from "./problems";

const MINUTE = 60_000;
const NONE = { p50: [null, null, null], p99: [null, null, null] };

function minutes(changes: Partial<Minutes> = {}): Minutes {
  return {
    at_ms: 3 * MINUTE,
    step_ms: MINUTE,
    minutes_ms: [0, MINUTE, 2 * MINUTE],
    submitted: [1, 2, 3],
    succeeded: [1, 2, 3],
    failed: [0, 0, 0],
    times: { duration: NONE, submit: NONE, callback: NONE, lateness: NONE },
    call_failures: {},
    ...changes,
  };
}

const point = (minute: number, p99: number | null): Point => ({
  atMs: minute * MINUTE,
  p50: null,
  p99,
});

test("a line has a gap where minutes are missing, and a lonely minute is a dot", () => {
  const points = [point(0, 1), point(1, 2), point(2, null), point(3, 4), point(9, 5)];
  const all = withGaps(points, MINUTE);
  expect(all).toEqual([...points.slice(0, 4), point(4, null), point(9, 5)]);
  expect(lonely(all.map(({ p99 }) => p99))).toEqual([3, 5]);
  expect(lonely([])).toEqual([]);
});

test("axes tell counts, lengths and moments in few characters", () => {
  const counts = [0, 5, 1000, 12_500].map(countLabel);
  expect(counts.map((label) => label.toLowerCase())).toEqual(["0", "5", "1k", "12.5k"]);
  expect([0, 50, 2000, 120_000].map(lengthLabel)).toEqual(["0", "50 ms", "2 s", "2 min"]);
  expect(momentLabel(new Date(2026, 10, 28, 14, 30).getTime())).toBe("14:30");
  expect(momentLabel(new Date(2026, 10, 28).getTime())).toBe("28 Nov");
});

test("the lines of an axis are at times of a clock, and axes of short labels are equally wide", () => {
  expect(LENGTH_STEPS).toEqual([...LENGTH_STEPS].sort((one, other) => one - other));
  expect(LENGTH_STEPS.map(lengthLabel).filter((label) => label.split(" ").length > 2)).toEqual([]);
  expect(axisWidth(null)).toBe(axisWidth(["0", "100"]));
  expect(axisWidth(["1 min 30 s"])).toBeGreaterThan(axisWidth(["1 min"]));
  expect(axisWidth(["一二三四五"])).toBe(axisWidth(["0123456789"]));
});

test("only the minutes that are shown have points", () => {
  const duration = { p50: [1, 2, 3], p99: [4, 5, null] };
  const all = minutes({ times: { ...minutes().times, duration } });
  expect(pointsOf(all, "duration", MINUTE)).toEqual([
    { atMs: MINUTE, p50: 2, p99: 5 },
    { atMs: 2 * MINUTE, p50: 3, p99: null },
  ]);
});

test("failed calls are summed by host, the most first", () => {
  const all = minutes({ call_failures: { a: [9, 1, 0], b: [0, 2, 3], c: [7, 0, 0] } });
  expect(failedCalls(all, MINUTE)).toEqual({
    hosts: [
      { host: "b", count: 5 },
      { host: "a", count: 1 },
    ],
    total: 6,
  });
  expect(failedCalls(all, 9 * MINUTE).total).toBe(0);
});

test("timers that are seconds late, and triggers that cannot fire, are not well", () => {
  const late = minutes({
    times: { ...minutes().times, lateness: { p50: [0, 0, 1], p99: [1, 2, 5000] } },
  });
  expect(latenessOf(late)).toBe(5000);
  expect(latenessOf(minutes())).toBeNull();
  const ill = { id: "nightly", paused: false, state: "", error: "no input" } as Trigger;
  const told = otherProblems(late, [ill, { ...ill, id: "other", paused: true }]);
  expect(told.map(({ kind }) => kind)).toEqual(["timers_late", "trigger_ill"]);
  expect(otherProblems(undefined, undefined)).toEqual([]);
  const partly = { ...ill, error: "", state: "connected", state_reason: "partition 3 is damaged" };
  expect(otherProblems(undefined, [partly]).map(({ kind }) => kind)).toEqual(["trigger_partly"]);
});

test("a lateness of an hour ago is no problem of now", () => {
  const old = minutes({
    at_ms: 90 * MINUTE,
    times: { ...minutes().times, lateness: { p50: [0, 0, 0], p99: [0, 0, 5000] } },
  });
  expect(latenessOf(old)).toBeNull();
});

test("actors that do not answer are not well, and what is said already is not said twice", () => {
  const reasons = [
    { code: "a", message: "the store is slow" },
    { code: "b", message: "an actor starts" },
  ];
  const others = [{ kind: "not_ready", subject: "a", detail: { message: "the store is slow" } }];
  const told = clusterProblems(
    { silent: ["rillflow:execution:1"], controller: { reasons } },
    others,
  );
  expect(told.map(problemWord)).toEqual([
    "rillflow:execution:1 does not answer.",
    "an actor starts",
  ]);
  expect(clusterProblems(null, [])).toEqual([]);
});

test("the figures of a stack are those that its server tells", () => {
  const actors = [
    { name: "rillflow:execution:0", hot: 1200, queue: 2, append_ms: 3.4 },
    { name: "rillflow:execution:1", hot: 34, queue: 1 },
  ];
  const dispatchers = { count: 2, reached: 1 };
  const cluster = { actors, unfinished_executions: 7 };
  const state = { store: { bytes: 2_400_000_000 }, cluster, dispatchers };
  const processes = ["replica:a", "replica:b", "rillflow:execution:0"];
  expect(figuresOf(state, { processes }, []).map(([, told]) => told)).toEqual([
    "2.4 GB",
    "7",
    "1,234",
    "3",
    "3 ms",
    "2",
    "1/2",
    "0",
  ]);
  const bare = figuresOf({ cluster: null, dispatchers }, undefined, undefined);
  expect(bare.map(([key]) => key)).toEqual(["ops.dispatchers"]);
});
