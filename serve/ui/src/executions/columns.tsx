/** The columns of the table of executions. */

import { createColumnHelper } from "@tanstack/react-table";
import type { JSX } from "react";
import { formatAddress } from "../address";
import { useSummary } from "../api/queries";
import type { Row, Status, Summary } from "../api/types";
import { waitSentence } from "../execution/waiting";
import { shortId, shortVersion } from "../format";
import { CopyButton } from "../parts/controls";
import { StatusIcon, statusWord } from "../parts/status";
import { Clock, Took, useNow } from "../parts/time";
import { t } from "../words";

const column = createColumnHelper<Row>();

export const COLUMNS = [
  column.display({
    id: "select",
    header: ({ table }) => (
      <input
        type="checkbox"
        aria-label={t("list.selectAll")}
        checked={table.getIsAllRowsSelected()}
        onChange={table.getToggleAllRowsSelectedHandler()}
      />
    ),
    cell: ({ row }) => (
      <input
        type="checkbox"
        aria-label={t("list.select", { id: shortId(row.original.execution_id) })}
        checked={row.getIsSelected()}
        onChange={row.getToggleSelectedHandler()}
      />
    ),
  }),
  column.display({
    id: "workflow",
    header: () => t("list.column.workflow"),
    cell: ({ row }) => <Workflow row={row.original} />,
  }),
  column.display({
    id: "execution",
    header: () => t("list.column.execution"),
    cell: ({ row }) => (
      <>
        <a
          className="mono"
          href={formatAddress(["execution", row.original.execution_id])}
          title={row.original.execution_id}
        >
          {shortId(row.original.execution_id)}
        </a>
        <CopyButton
          text={row.original.execution_id}
          label={t("action.copyId")}
          className="on-row"
        />
      </>
    ),
  }),
  column.display({
    id: "started",
    header: () => t("list.column.started"),
    cell: ({ row }) => <Clock ms={row.original.submitted_at_ms} />,
  }),
  column.display({
    id: "took",
    header: () => t("list.column.took"),
    cell: ({ row }) => <Duration row={row.original} />,
  }),
  column.display({
    id: "progress",
    header: () => t("list.column.progress"),
    cell: ({ row }) => <Done id={row.original.execution_id} />,
  }),
  column.display({
    id: "now",
    header: () => t("list.column.now"),
    cell: ({ row }) => <Now row={row.original} />,
  }),
];

/** The status that a summary tells; until it comes, that of the list. */
export function statusOf(row: Row, summary: Summary | null): Status {
  return summary?.status ?? row.status;
}

function Workflow({ row }: { row: Row }): JSX.Element {
  const status = statusOf(row, useSummary(row.execution_id));
  return (
    <>
      <StatusIcon status={status} />
      <a
        className="cut main"
        dir="auto"
        href={formatAddress(["execution", row.execution_id])}
        title={`${row.business}:${row.feature}`}
      >
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

function Duration({ row }: { row: Row }): JSX.Element {
  const summary = useSummary(row.execution_id);
  const ended = summary?.ended_ms ?? row.finished_at_ms;
  return <Took fromMs={summary?.started_ms ?? row.submitted_at_ms} toMs={ended} />;
}

function Done({ id }: { id: string }): JSX.Element | null {
  const progress = useSummary(id)?.progress ?? null;
  if (progress === null) return null;
  return (
    <span className="num">
      {progress.done}/{progress.total}
    </span>
  );
}

function Now({ row }: { row: Row }): JSX.Element {
  const summary = useSummary(row.execution_id);
  const status = statusOf(row, summary);
  return (
    <span className={`cut s-${status}`} dir="auto">
      <Said status={status} summary={summary} code={row.code} />
    </span>
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
  const now = useNow();
  if (summary?.wait != null && summary.ended_ms === null) {
    return <>{waitSentence(summary.wait, now, { isShort: true })}</>;
  }
  if (status === "failed" && summary?.failure != null) {
    const { task, code: failed, message } = summary.failure;
    const told = [failed, message].filter((each) => each !== null && each !== "").join(" ");
    return <>{told === "" ? `${statusWord(status)}: ${task}` : `${task}: ${told}`}</>;
  }
  return (
    <>
      {statusWord(status)}
      {status === "failed" && code !== null && code !== "" ? ` (${code})` : ""}
    </>
  );
}
