/** The charts of the last hours show what was measured, and gaps where nothing was. */

import { expect, test } from "vitest";
import type { Minutes, Trigger } from "../api/types";
import { failedCalls, type Point, pathsOf, pointsOf } from "./lines";
import { latenessOf, otherProblems } from "./problems";

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

const line = (points: Point[]) =>
  pathsOf(
    points,
    "p99",
    MINUTE,
    (ms) => ms / MINUTE,
    (v) => v,
  );
const point = (minute: number, p99: number | null): Point => ({
  atMs: minute * MINUTE,
  p50: null,
  p99,
});

test("a line has a gap where nothing was measured, and where minutes are missing", () => {
  expect(line([point(0, 1), point(1, 2), point(2, null), point(3, 4), point(9, 5)])).toEqual([
    "M0.0 1.0L1.0 2.0",
    "M3.0 4.0h3",
    "M9.0 5.0h3",
  ]);
  expect(line([])).toEqual([]);
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
});

test("a lateness of an hour ago is no problem of now", () => {
  const old = minutes({
    at_ms: 90 * MINUTE,
    times: { ...minutes().times, lateness: { p50: [0, 0, 0], p99: [0, 0, 5000] } },
  });
  expect(latenessOf(old)).toBeNull();
});
