/** One sentence for what has not ended: what it does or waits for, since when, what comes next. */

import type { Wait } from "../api/types";
import { clock, elapsed, remaining } from "../format";
import { type Key, locale, number, t } from "../words";

const KINDS = new Set([
  "call",
  "poll_call",
  "steps",
  "callback",
  "poll",
  "wake_up",
  "sub_flow",
  "groups",
  "retry",
  "paused",
  "circuit",
  "limit",
  "busy",
  "group_limit",
  "quarantine",
  "dependencies",
  "notice",
]);

/** A wait that has only begun is told without its length. */
const LEAST_MS = 1000;

/** The kinds whose `until_ms` is a time-out, and not the time when it goes on. */
const TIMED_OUT = new Set(["callback", "call", "poll_call", "wake_up", "sub_flow"]);

/**
 * Say why something waits.
 *
 * @param nowMs The time of the server, or that of the event whose state is shown.
 * @param isShort Whether the sentence stands in a row of a table, where the time-out has no room.
 */
export function waitSentence(wait: Wait, nowMs: number, { isShort = false } = {}): string {
  const parts = [what(wait, nowMs)];
  if (wait.since_ms != null && wait.kind !== "retry" && nowMs - wait.since_ms >= LEAST_MS) {
    parts.push(t("wait.for", { time: elapsed(nowMs - wait.since_ms) }));
  }
  if (wait.until_ms != null && TIMED_OUT.has(wait.kind)) {
    if (!isShort) {
      parts.push(t("wait.timesOut", { time: clock(wait.until_ms, nowMs, locale()) }));
    }
  } else if (wait.until_ms != null) {
    parts.push(t("wait.in", { time: remaining(wait.until_ms - nowMs) }));
  }
  const error = wait.kind === "retry" ? wait.detail?.error : null;
  if (error != null && error !== "") parts.push(t("wait.retry.error", { error: String(error) }));
  return parts.join(t("wait.and")) + (isShort ? "" : t("wait.stop"));
}

function what(wait: Wait, nowMs: number): string {
  const detail = wait.detail ?? {};
  const values: Record<string, string | number> = { task: wait.task ?? wait.base ?? "" };
  for (const [name, value] of Object.entries(detail)) {
    if (typeof value === "string") values[name] = value;
    if (typeof value === "number") values[name] = number(value);
  }
  return t(keyOf(wait), {
    ...values,
    time: wait.since_ms == null ? "" : clock(wait.since_ms, nowMs, locale()),
    open: number(Number(detail.total ?? 0) - Number(detail.done ?? 0)),
    most: number(Number(detail.most_attempts ?? 0)),
    host: String(detail.host ?? ""),
    tasks: Array.isArray(detail.tasks) ? detail.tasks.join(", ") : "",
    reason: String(detail.reason ?? ""),
    sentence: wait.sentence ?? wait.kind,
  });
}

function keyOf(wait: Wait): Key {
  const detail = wait.detail ?? {};
  if (!KINDS.has(wait.kind)) return "wait.other";
  if (wait.kind === "paused" && wait.since_ms != null) {
    return detail.by ? "wait.paused.by" : "wait.paused.at";
  }
  if (wait.kind === "call" && Number(detail.attempt ?? 1) > 1) return "wait.call.attempt";
  if (wait.kind === "retry" && Number(detail.most_attempts ?? 0) > 0) return "wait.retry.of";
  if (wait.kind === "retry" || wait.kind === "call") return `wait.${wait.kind}`;
  return `wait.${wait.kind}` as Key;
}
