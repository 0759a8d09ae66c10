/** Choosing one of the last executions of a workflow, or any by its id. */

import type { JSX } from "react";
import { useAnswer } from "../api/queries";
import type { RowPage } from "../api/types";
import { clock, shortId } from "../format";
import { statusWord } from "../parts/status";
import { useNow } from "../parts/time";
import { locale, t } from "../words";

export function ExecutionChoice({
  flow,
  chosen,
  none,
  onChoose,
}: {
  flow: string | null;
  chosen: string | null;
  none: string;
  onChoose: (id: string | null) => void;
}): JSX.Element {
  const now = useNow();
  const found = useAnswer<RowPage>(
    "executions.json",
    { flow, limit: 30 },
    { enabled: flow !== null },
  );
  const rows = found.data?.rows ?? [];
  const isListed = rows.some((row) => row.execution_id === chosen);
  return (
    <select
      className="field num"
      aria-label={t("play.execution")}
      value={chosen ?? ""}
      onChange={(event) => onChoose(event.target.value === "" ? null : event.target.value)}
    >
      <option value="">{none}</option>
      {chosen !== null && !isListed && <option value={chosen}>{shortId(chosen)}</option>}
      {rows.map((row) => (
        <option key={row.execution_id} value={row.execution_id}>
          {`${shortId(row.execution_id)} · ${clock(row.submitted_at_ms, now, locale())} · ${statusWord(row.status)}`}
        </option>
      ))}
    </select>
  );
}
