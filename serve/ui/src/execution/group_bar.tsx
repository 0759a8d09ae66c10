/** The items of a group as one bar, by status. */

import type { JSX } from "react";
import type { GroupState, Status } from "../api/types";
import { statusWord } from "../parts/status";
import { number } from "../words";

/** What the characters of a strip mean. */
export const STRIP: Readonly<Record<string, Status>> = {
  s: "succeeded",
  r: "running",
  w: "waiting",
  d: "delayed",
  h: "held",
  f: "failed",
  k: "skipped",
  n: "not_started",
  c: "cancelled",
};

const ORDER = [
  "failed",
  "running",
  "waiting",
  "delayed",
  "held",
  "succeeded",
  "skipped",
  "cancelled",
  "not_started",
] as const;

/** How many items have each status. Only the strip tells kinds of what has not ended apart. */
export function partsOf(group: GroupState): [Status, number][] {
  const counts: Partial<Record<Status, number>> =
    group.strip.length === group.total ? countsOf(group.strip) : { ...group.counts };
  const known = Object.values(counts).reduce((sum, each) => sum + each, 0);
  if (known < group.total) counts.not_started = (counts.not_started ?? 0) + group.total - known;
  return ORDER.map((status): [Status, number] => [status, counts[status] ?? 0]).filter(
    ([, count]) => count > 0,
  );
}

function countsOf(strip: string): Partial<Record<Status, number>> {
  const counts: Partial<Record<Status, number>> = {};
  for (const mark of strip) {
    const status = STRIP[mark] ?? "running";
    counts[status] = (counts[status] ?? 0) + 1;
  }
  return counts;
}

export function GroupBar({ group }: { group: GroupState }): JSX.Element {
  const parts = partsOf(group);
  const told = parts.map(([status, count]) => `${number(count)} ${statusWord(status)}`).join(", ");
  return (
    <div className="group-bar" role="img" aria-label={told} title={told}>
      {parts.map(([status, count]) => (
        <span key={status} className={`s-${status}`} style={{ flexGrow: count }} />
      ))}
    </div>
  );
}
