/** One row of the table of executions, which is drawn anew only when what it shows has changed. */

import { type JSX, memo, useLayoutEffect, useRef } from "react";
import { formatAddress, go } from "../address";
import { useSummary } from "../api/queries";
import type { Failure, Row, Status, Summary } from "../api/types";
import { toldOf, warningsOf } from "../execution/told";
import { waitSentence } from "../execution/waiting";
import { shortId, shortVersion } from "../format";
import { CopyButton } from "../parts/controls";
import { StatusIcon, statusWord } from "../parts/status";
import { Clock, Took, useNow } from "../parts/time";
import { t, useLanguage } from "../words";

export interface RowProps {
  readonly row: Row;
  /** The place among all rows, from 0. */
  readonly index: number;
  /** The distance from the first row, in pixels. */
  readonly start: number;
  readonly isSelected: boolean;
  /** Null for whoever may not steer, and so has nothing to select rows for. */
  readonly onSelect: ((id: string, isSelected: boolean) => void) | null;
  readonly onRedo: (id: string) => void;
}

export const ExecutionRow = memo(function ExecutionRow({
  row,
  index,
  start,
  isSelected,
  onSelect,
  onRedo,
}: RowProps): JSX.Element {
  useLanguage();
  const id = row.execution_id;
  const summary = useSummary(id);
  const status = summary?.status ?? row.status;
  const address = formatAddress(["execution", id]);
  const shown = useRef<HTMLDivElement>(null);
  const last = useRef(id);
  useLayoutEffect(() => {
    if (last.current === id) return;
    last.current = id;
    // The focus was on what has left.
    const active = document.activeElement;
    if (active instanceof HTMLElement && shown.current?.contains(active)) active.blur();
  }, [id]);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the links of the row take the keys
    <div
      ref={shown}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      className="execution-row"
      style={{ transform: `translateY(${start}px)` }}
      onClick={(event) => {
        if (!(event.target as HTMLElement).closest("a, button, input")) go(address);
      }}
    >
      {onSelect !== null && (
        <div role="cell" className="c-select">
          <input
            type="checkbox"
            aria-label={t("list.select", { id: shortId(id) })}
            checked={isSelected}
            onChange={(event) => onSelect(id, event.target.checked)}
          />
        </div>
      )}
      <div role="cell" className="c-workflow">
        <Workflow row={row} status={status} address={address} />
      </div>
      <div role="cell" className="c-execution">
        <a className="mono" href={address} title={id}>
          {shortId(id)}
        </a>
        <CopyButton text={id} label={t("action.copyId")} className="on-row" />
      </div>
      <div role="cell" className="c-started">
        <Clock ms={row.submitted_at_ms} isStop={false} />
      </div>
      <div role="cell" className="c-took">
        <Took
          fromMs={summary?.started_ms ?? row.submitted_at_ms}
          toMs={summary?.ended_ms ?? row.finished_at_ms}
          idleMs={summary?.idle_ms ?? 0}
        />
      </div>
      <div role="cell" className="c-progress num">
        {summary?.progress != null && `${summary.progress.done}/${summary.progress.total}`}
      </div>
      <div role="cell" className="c-now">
        <span className={`cut s-${status}`} dir="auto">
          <Said status={status} summary={summary} code={row.code} />
        </span>
        {status === "failed" && onSelect !== null && (
          <button
            type="button"
            className="button small wide-only"
            aria-label={t("list.redoOne", { id: shortId(id) })}
            onClick={() => onRedo(id)}
          >
            {t("list.redo")}
          </button>
        )}
      </div>
    </div>
  );
});

function Workflow({
  row,
  status,
  address,
}: {
  row: Row;
  status: Status;
  address: string;
}): JSX.Element {
  return (
    <>
      <StatusIcon status={status} />
      <a className="cut main" dir="auto" href={address} title={`${row.business}:${row.feature}`}>
        {row.feature}
      </a>
      <span className="muted cut" dir="auto">
        {row.business}
      </span>
      {row.definition_id !== null && (
        <span className="muted mono wide-only">{shortVersion(row.definition_id)}</span>
      )}
      {row.trigger === "sub_flow" && <span className="tag">{t("list.subFlow")}</span>}
      {row.trigger === "trigger" && <span className="tag">{t("list.trigger")}</span>}
    </>
  );
}

function Said({
  status,
  summary,
  code,
}: {
  status: Status;
  summary: Summary | null;
  code: string | null;
}): JSX.Element {
  if (summary?.wait != null && summary.ended_ms === null) return <Waits wait={summary.wait} />;
  if (status === "failed" && summary?.failure != null) {
    return <Failed failure={summary.failure} />;
  }
  return (
    <>
      {statusWord(status)}
      {status === "failed" && code !== null && code !== "" ? ` (${code})` : ""}
      {summary !== null && summary.mapping_warnings > 0 && (
        <span className="warned">
          {t("list.with")}
          {warningsOf(summary.mapping_warnings)}
        </span>
      )}
    </>
  );
}

/** Why it failed, in plain words; the message itself is shown to who points at it. */
function Failed({ failure }: { failure: Failure }): JSX.Element {
  const { said, wire } = toldOf(failure);
  const where = failure.task === "" ? statusWord("failed") : failure.task;
  if (said !== "") return <span title={wire}>{`${where}: ${said}`}</span>;
  return <>{failure.task === "" ? where : `${statusWord("failed")}: ${failure.task}`}</>;
}

/** The sentence of one that waits, which goes on with the time. */
function Waits({ wait }: { wait: NonNullable<Summary["wait"]> }): JSX.Element {
  return <>{waitSentence(wait, useNow(), { isShort: true })}</>;
}
