/** The numbers by status, each a toggle of the search; and the span of time. */

import type { JSX } from "react";
import type { Counts, Status, StoredStatus } from "../api/types";
import { StatusIcon, statusWord } from "../parts/status";
import { number, t } from "../words";
import { RANGES, searchValue, statusesOf, toggled, withValue } from "./search";

const OPEN = ["running", "waiting", "delayed", "held"] as const;

export function CountToggles({
  counts,
  text,
  onSearch,
}: {
  counts: Counts | undefined;
  text: string;
  onSearch: (text: string) => void;
}): JSX.Element {
  const chosen = statusesOf(text);
  return (
    <fieldset className="counts" aria-label={t("list.counts")}>
      {shownCounts(counts, chosen).map(([status, count]) => (
        <button
          type="button"
          key={status}
          className={`count ${count === "0" ? "none" : ""}`}
          aria-pressed={chosen.includes(status)}
          onClick={() => onSearch(toggled(text, status))}
        >
          <StatusIcon status={status} label={false} />
          <strong className="num">{count}</strong>
          <span>{statusWord(status)}</span>
        </button>
      ))}
    </fieldset>
  );
}

/** A number of executions, with a plus where there are more. */
export function countWord(counts: Counts, status: StoredStatus): string {
  const isLeast = counts.at_least?.includes(status) === true;
  return number(counts.counts[status] ?? 0) + (isLeast ? "+" : "");
}

const UNKNOWN = "–";

/** The four kinds of unfinished ones where they are known, else their sum. */
export function shownCounts(
  counts: Counts | undefined,
  chosen: readonly string[],
): [Status, string][] {
  const stored = (status: StoredStatus) =>
    counts === undefined ? UNKNOWN : countWord(counts, status);
  const unfinished = counts?.unfinished ?? null;
  const isApart = unfinished !== null && (counts?.counts.unfinished ?? 0) !== 0;
  const open: [Status, string][] = isApart
    ? OPEN.map((status) => [status, number(unfinished[status] ?? 0)])
    : [["unfinished", stored("unfinished")]];
  const asked = OPEN.filter((status) => !isApart && chosen.includes(status));
  return [
    ...open,
    ...asked.map((status): [Status, string] => [status, UNKNOWN]),
    ["failed", stored("failed")],
    ["succeeded", stored("succeeded")],
  ];
}

export function Range({
  text,
  onSearch,
}: {
  text: string;
  onSearch: (text: string) => void;
}): JSX.Element {
  const since = searchValue(text, "since") ?? "";
  const isOwn = since !== "" && !RANGES.some((range) => range === since);
  return (
    <select
      className="field"
      aria-label={t("list.range")}
      value={since}
      onChange={(event) =>
        onSearch(withValue(withValue(text, "since", event.target.value), "until", null))
      }
    >
      <option value="">{t("list.range.all")}</option>
      {RANGES.map((range) => (
        <option key={range} value={range}>
          {t(`list.range.${range}`)}
        </option>
      ))}
      {isOwn && (
        <option value={since}>
          {t("list.range.own", { from: since, to: searchValue(text, "until") ?? "…" })}
        </option>
      )}
    </select>
  );
}
