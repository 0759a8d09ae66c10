/** A trigger says in words how it is, when it fires, and what it listens to. */

import { expect, test } from "vitest";
import type { Trigger } from "../api/types";
import { causeOf, flowOf, isIll, isPartial, localOf, matching, stateOf, utcOf } from "./told";

const NOW = Date.UTC(2026, 10, 28, 12, 0, 0);

function trigger(changes: Partial<Trigger>): Trigger {
  return {
    id: "nightly",
    type: "cron",
    descriptor_id: "shop:order:release",
    paused: false,
    created_ms: 1,
    fired: 0,
    skipped: 0,
    last_ms: 0,
    last_execution: "",
    queued_ms: 0,
    error: "",
    refused: 0,
    refusals: [],
    state: "",
    state_ms: 0,
    state_reason: "",
    ...changes,
  };
}

test("what keeps a trigger from firing comes before when it fires", () => {
  const next_ms = NOW + 90_000;
  expect(stateOf(trigger({ next_ms }), NOW)).toEqual({
    status: "delayed",
    text: expect.stringContaining("1 min 30 s"),
  });
  expect(stateOf(trigger({ next_ms, error: "no input" }), NOW)).toEqual({
    status: "failed",
    text: expect.stringContaining("no input"),
  });
  expect(stateOf(trigger({ error: "no input", paused: true }), NOW).status).toBe("held");
  expect(stateOf(trigger({ state: "failed", state_reason: "refused" }), NOW).text).toContain(
    "refused",
  );
});

test("a schedule that is over, a webhook and a source have states of their own", () => {
  expect(stateOf(trigger({}), NOW).status).toBe("not_started");
  expect(stateOf(trigger({ type: "webhook", path: "/flow/hooks/x" }), NOW).status).toBe("waiting");
  expect(stateOf(trigger({ type: "kafka", state: "connecting" }), NOW).status).toBe("running");
  expect(stateOf(trigger({ type: "folder", state: "connected" }), NOW).status).toBe("waiting");
});

test.each([
  ["failed", "failed"],
  ["connected", "held"],
  ["connecting", "running"],
  ["stopped", "not_started"],
])("why its source is %s is told with it, and since when", (state, status) => {
  const reasoned = trigger({ type: "kafka", state, state_reason: "no leader", state_ms: 5 });
  const told = stateOf(reasoned, NOW);
  expect(told).toEqual({ status, text: expect.stringContaining("no leader"), sinceMs: 5 });
  expect(isPartial(reasoned)).toBe(state === "connected");
});

test("a next time that has passed is not told as a negative length", () => {
  expect(stateOf(trigger({ next_ms: NOW - 5 }), NOW).text).not.toContain("-");
});

test.each([
  [{ cron: "0 2 * * *", time_zone: "UTC" }, "0 2 * * *"],
  [{ cron: "0 2 * * *", time_zone: "Europe/Berlin" }, "0 2 * * * Europe/Berlin"],
  [{ type: "webhook", path: "/flow/hooks/push" }, "/flow/hooks/push"],
  [{ type: "kafka", kafka: { topic: "orders", brokers: ["a:1"] } }, "orders"],
  [{ type: "folder", source: { type: "folder", path: "/in", every_s: 5, more: {} } }, "/in 5"],
])("%j is told as %j", (fields, told) => {
  expect(causeOf(trigger(fields))).toBe(told);
});

test("a paused trigger is not ill, one that is refused is", () => {
  expect(isIll(trigger({ paused: true, error: "x" }))).toBe(false);
  expect(isIll(trigger({ error: "x" }))).toBe(true);
  expect(isIll(trigger({}))).toBe(false);
});

test("triggers are found by id, type and workflow", () => {
  const all = [trigger({}), trigger({ id: "push", type: "webhook" })];
  expect(matching(all, "PUSH").map(({ id }) => id)).toEqual(["push"]);
  expect(matching(all, "webhook").map(({ id }) => id)).toEqual(["push"]);
  expect(matching(all, "shop:order")).toHaveLength(2);
  expect(flowOf(trigger({}))).toBe("shop:order");
});

test("times of a field are those of the reader's zone", () => {
  const ms = new Date(2026, 2, 4, 5, 6).getTime();
  expect(localOf(ms)).toBe("2026-03-04T05:06");
  expect(utcOf(localOf(ms))).toBe(new Date(ms).toISOString());
  expect(utcOf("")).toBeNull();
});
