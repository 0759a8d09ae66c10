/** Events of a journal as a person reads them. */

import type { JournalEvent } from "../api/types";
import { type Key, t } from "../words";

/** A kind of event in one or two words. */
export function kindWord(kind: string): string {
  return kind === "dispatch_answered" || KINDS.has(kind)
    ? t(`events.kind.${kind}` as Key)
    : kind.replaceAll("_", " ");
}

const KINDS = new Set([
  "submitted",
  "callback_received",
  "progress_reported",
  "wake_up_received",
  "redo_requested",
  "degrade_requested",
  "completion_requested",
  "cancel_requested",
  "pause_requested",
  "resume_requested",
  "timer_fired",
  "notice_delivered",
]);

/** What happened; in the server's words, which are English, for a kind that this page does not know. */
export function eventSentence(event: JournalEvent): string {
  const facts = event.facts ?? {};
  const key = keyOf(event.kind, facts);
  if (key === null) return event.sentence;
  const told = t(key, {
    task: event.task || t("say.execution"),
    status: String(facts.http_status ?? ""),
    error: String(facts.error ?? ""),
    timer: String(facts.timer ?? ""),
  });
  const end = facts.by ? t("say.by", { by: String(facts.by) }) : "";
  // An error has a stop of its own, or is cut.
  return `${told}${end}${facts.error == null ? t("wait.stop") : ""}`;
}

function keyOf(kind: string, facts: Readonly<Record<string, unknown>>): Key | null {
  if (kind === "dispatch_answered") {
    if (facts.error != null) return "say.call_failed";
    return facts.http_status == null ? "say.answered" : "say.answered_with";
  }
  return KINDS.has(kind) ? (`say.${kind}` as Key) : null;
}
