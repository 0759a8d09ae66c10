/** What differs between two versions of a workflow. */

import { type JSX, useState } from "react";
import { useAnswer } from "../api/queries";
import type { Diff, Version } from "../api/types";
import { shortVersion } from "../format";
import { ErrorNote } from "../parts/controls";
import { Clock } from "../parts/time";
import { number, t } from "../words";

export function DiffView({
  versions,
  chosen,
}: {
  versions: readonly Version[];
  chosen: string | null;
}): JSX.Element {
  const at = versions.findIndex((version) => version.definition_id === chosen);
  const before = versions[at + 1] ?? versions[at === 0 ? 1 : 0];
  const [other, setOther] = useState<string | null>(null);
  const from = other ?? before?.definition_id ?? null;
  const found = useAnswer<Diff>(
    "diff.json",
    { from, to: chosen, context: 3 },
    { enabled: from !== null && chosen !== null && from !== chosen },
  );
  if (versions.length < 2) return <p className="muted">{t("flows.diff.one")}</p>;
  return (
    <div className="stack">
      <div className="row wrap">
        <strong className="mono">{shortVersion(chosen)}</strong>
        <span className="muted">{t("flows.diffWith")}</span>
        <select
          className="field mono"
          aria-label={t("flows.diffWith")}
          value={from ?? ""}
          onChange={(event) => setOther(event.target.value)}
        >
          {versions
            .filter((version) => version.definition_id !== chosen)
            .map((version) => (
              <option key={version.definition_id} value={version.definition_id}>
                {shortVersion(version.definition_id)}
              </option>
            ))}
        </select>
        {before !== undefined && (
          <span className="muted">
            <Clock ms={versions.find((each) => each.definition_id === from)?.created_ms ?? 0} />
          </span>
        )}
        {found.data !== undefined && (
          <>
            <span className="s-succeeded num">
              {t("flows.added", { n: number(found.data.added) })}
            </span>
            <span className="s-failed num">
              {t("flows.removed", { n: number(found.data.removed) })}
            </span>
          </>
        )}
      </div>
      {found.isError && <ErrorNote error={found.error} />}
      {found.data !== undefined && <Hunks diff={found.data} />}
    </div>
  );
}

/** The lines that differ, with those around them. */
export function Hunks({ diff }: { diff: Pick<Diff, "hunks" | "is_exact"> }): JSX.Element {
  if (diff.hunks.length === 0) return <p className="muted">{t("flows.diff.none")}</p>;
  return (
    <>
      {!diff.is_exact && <p className="muted">{t("flows.diff.inexact")}</p>}
      <div className="diff mono">
        {diff.hunks.map((hunk) => (
          <div key={`${hunk.from_line}-${hunk.to_line}`} className="hunk">
            <div className="muted">
              {hunk.from_line} → {hunk.to_line}
            </div>
            {hunk.lines.map((line, index) => (
              <div
                // biome-ignore lint/suspicious/noArrayIndexKey: lines are told apart by their place
                key={index}
                className={line.op === "+" ? "plus" : line.op === "-" ? "minus" : ""}
              >
                <span className="sign">{line.op}</span>
                {line.text}
              </div>
            ))}
          </div>
        ))}
      </div>
    </>
  );
}
