/** What a trigger is told by in words: its state, when it fires, what it listens to. */

import type { Status, Trigger } from "../api/types";
import { clock, remaining } from "../format";
import { type Key, locale, t } from "../words";

export interface TriggerState {
  readonly status: Status;
  readonly text: string;
  /** Since when its source is so, where that is what is told. */
  readonly sinceMs?: number;
}

/** Tell how a trigger is: what keeps it from firing first, else when it fires. */
export function stateOf(trigger: Trigger, nowMs: number): TriggerState {
  if (trigger.paused) return { status: "held", text: t("triggers.is.paused") };
  if (trigger.state === "failed") return sourceOf(trigger);
  if (trigger.error !== "") {
    return { status: "failed", text: t("triggers.is.refused", { reason: trigger.error }) };
  }
  if (trigger.queued_ms > 0) return { status: "waiting", text: t("triggers.is.queued") };
  if (trigger.next_ms != null) return { status: "delayed", text: nextOf(trigger.next_ms, nowMs) };
  if (trigger.type === "cron") return { status: "not_started", text: t("triggers.is.over") };
  if (trigger.type === "webhook") return { status: "waiting", text: t("triggers.is.listening") };
  return sourceOf(trigger);
}

/** Tell how the source of a trigger is, and why, if it says so. */
function sourceOf(trigger: Trigger): TriggerState {
  const [status, key] = SOURCES[trigger.state] ?? CONNECTING;
  const reason = trigger.state_reason;
  const said = t(key);
  return {
    // A source that is connected and has a reason to tell does not give everything.
    status: status === "waiting" && reason !== "" ? "held" : status,
    text: reason === "" ? said : t("triggers.is.because", { said, reason }),
    ...(trigger.state_ms > 0 ? { sinceMs: trigger.state_ms } : {}),
  };
}

const CONNECTING: readonly [Status, Key] = ["running", "triggers.is.connecting"];
const SOURCES: Readonly<Record<string, readonly [Status, Key]>> = {
  failed: ["failed", "triggers.is.failed"],
  connected: ["waiting", "triggers.is.reading"],
  stopped: ["not_started", "triggers.is.stopped"],
};

function nextOf(nextMs: number, nowMs: number): string {
  const left = nextMs - nowMs;
  // The next time of the answer may have passed by now; the next answer has another one.
  if (left <= 0) return t("triggers.is.now");
  return t("triggers.is.next", { time: clock(nextMs, nowMs, locale()), left: remaining(left) });
}

/** What makes it fire, in one line. */
export function causeOf(trigger: Trigger): string {
  const { kafka, source } = trigger;
  if (trigger.cron != null) {
    const zone = trigger.time_zone ?? "UTC";
    return zone === "UTC" ? trigger.cron : `${trigger.cron} ${zone}`;
  }
  if (trigger.path != null) return trigger.path;
  if (kafka != null) return String(kafka.topic ?? "");
  if (source != null) {
    const { type: _, ...settings } = source;
    return Object.values(settings)
      .filter((each) => typeof each === "string" || typeof each === "number")
      .join(" ");
  }
  return "";
}

/** Whether something keeps a trigger from firing that nobody has wished for. */
export function isIll(trigger: Trigger): boolean {
  return !trigger.paused && (trigger.state === "failed" || trigger.error !== "");
}

/** Whether a trigger fires, but does not get everything that its source has. */
export function isPartial(trigger: Trigger): boolean {
  return !trigger.paused && trigger.state === "connected" && trigger.state_reason !== "";
}

/** The triggers whose id, type or workflow has a text. */
export function matching(triggers: readonly Trigger[], wanted: string): Trigger[] {
  const text = wanted.trim().toLowerCase();
  return triggers.filter((each) =>
    `${each.id} ${each.type} ${each.descriptor_id}`.toLowerCase().includes(text),
  );
}

/** `business:feature` of what a trigger starts, without alias or version. */
export function flowOf(trigger: Trigger): string {
  return trigger.descriptor_id.split(":").slice(0, 2).join(":");
}

/** A time of a field `datetime-local`, which is in the reader's zone, as ISO 8601 in UTC. */
export function utcOf(local: string): string | null {
  const time = new Date(local);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}

/** A time as a field `datetime-local` has it. */
export function localOf(ms: number): string {
  const time = new Date(ms);
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${date}T${two(time.getHours())}:${two(time.getMinutes())}`;
}
