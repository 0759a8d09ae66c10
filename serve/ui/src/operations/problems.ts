/** What is not well, in the reader's language. */

import type { Cluster, Minutes, Problem, Trigger } from "../api/types";
import { duration } from "../format";
import { isIll, isPartial } from "../triggers/told";
import { type Key, number, t } from "../words";

const KINDS: Readonly<Record<string, Key>> = {
  circuit_open: "problem.circuit_open",
  dispatcher_unreachable: "problem.dispatcher_unreachable",
  limit_reached: "problem.limit_reached",
  busy: "problem.busy",
  loop_held: "problem.loop_held",
  timers_late: "problem.timers_late",
  trigger_ill: "problem.trigger_ill",
  trigger_partly: "problem.trigger_partly",
  quarantined: "problem.quarantined",
  actor_silent: "problem.actor_silent",
};
/** Timers that fire so late make people wait. */
const LATE_MS = 3000;
const FRESH_MS = 180_000;

export type Told = Pick<Problem, "kind" | "subject" | "detail">;

export function problemWord({ kind, subject, detail }: Told): string {
  const key = KINDS[kind];
  // Reasons of readiness, and kinds of a later server, come in words.
  if (key === undefined) return String(detail["message"] ?? `${kind}: ${subject}`);
  const ms = detail["open_for_ms"] ?? detail["for_ms"] ?? detail["longest_of_minute_ms"];
  return t(key, {
    subject,
    time: typeof ms === "number" ? duration(ms) : "",
    reason: String(detail["reason"] ?? ""),
    n: typeof detail["count"] === "number" ? number(detail["count"]) : "",
  });
}

/** How late 99 of 100 timers were at most in the last minute with any; null if that is long ago. */
export function latenessOf(minutes: Minutes): number | null {
  const at = minutes.times.lateness.p99.findLastIndex((each) => each !== null);
  const minute = minutes.minutes_ms[at];
  if (minute === undefined || minutes.at_ms - minute > FRESH_MS) return null;
  return minutes.times.lateness.p99[at] ?? null;
}

/** What keeps the cluster from being as it should, where no other problem says the same. */
export function clusterProblems(cluster: Cluster | null, others: readonly Told[]): Told[] {
  const told = new Set(others.map(({ detail }) => detail["message"]));
  const silent = (cluster?.silent ?? []).map((subject) => ({
    kind: "actor_silent",
    subject,
    detail: {},
  }));
  const reasons = (cluster?.controller?.reasons ?? [])
    .filter(({ message }) => !told.has(message))
    .map(({ code, message }) => ({ kind: "not_as_wanted", subject: code, detail: { message } }));
  return [...silent, ...reasons];
}

/** What is not well besides what the server says by itself. */
export function otherProblems(
  minutes: Minutes | undefined,
  triggers: readonly Trigger[] | undefined,
): Told[] {
  const late = minutes === undefined ? null : latenessOf(minutes);
  const told: Told[] = [];
  if (late !== null && late >= LATE_MS) {
    told.push({ kind: "timers_late", subject: "", detail: { for_ms: late } });
  }
  for (const trigger of (triggers ?? []).filter(isIll)) {
    told.push({ kind: "trigger_ill", subject: trigger.id, detail: {} });
  }
  for (const trigger of (triggers ?? []).filter(isPartial)) {
    const detail = { reason: trigger.state_reason };
    told.push({ kind: "trigger_partly", subject: trigger.id, detail });
  }
  return told;
}
