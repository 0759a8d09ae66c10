/** What is not well, in the reader's language. */

import type { Problem } from "../api/types";
import { duration } from "../format";
import { type Key, t } from "../words";

const KINDS: Readonly<Record<string, Key>> = {
  circuit_open: "problem.circuit_open",
  dispatcher_unreachable: "problem.dispatcher_unreachable",
  limit_reached: "problem.limit_reached",
  busy: "problem.busy",
  loop_held: "problem.loop_held",
};

export function problemWord({ kind, subject, detail }: Problem): string {
  const key = KINDS[kind];
  // Reasons of readiness, and kinds of a later server, come in words.
  if (key === undefined) return String(detail["message"] ?? `${kind}: ${subject}`);
  const ms = detail["open_for_ms"] ?? detail["for_ms"] ?? detail["longest_of_minute_ms"];
  return t(key, { subject, time: typeof ms === "number" ? duration(ms) : "" });
}
