/** What can be done to the selected executions. */

import { type JSX, useState } from "react";
import { post } from "../api/client";
import { Confirm } from "../parts/controls";
import { t } from "../words";

const DEEDS = ["cancel", "redo", "resume"] as const;
type Deed = (typeof DEEDS)[number];

const ROUTES: Readonly<Record<Deed, readonly [string, Record<string, string>]>> = {
  cancel: ["flow/cancel.json", {}],
  redo: ["flow/redo.json", { scope: "failed" }],
  resume: ["flow/resume.json", {}],
};

export function BulkBar({
  ids,
  onClear,
  onDone,
}: {
  ids: string[];
  onClear: () => void;
  onDone: () => void;
}): JSX.Element | null {
  const [deed, setDeed] = useState<Deed | null>(null);
  if (ids.length === 0) return null;
  return (
    <div className="row wrap">
      <span className="num">{t("list.selected", { n: ids.length })}</span>
      {DEEDS.map((each) => (
        <button
          type="button"
          key={each}
          className={`button small ${each === "cancel" ? "danger" : ""}`}
          onClick={() => setDeed(each)}
        >
          {t(`bulk.${each}`)}
        </button>
      ))}
      <button type="button" className="button quiet small" onClick={onClear}>
        {t("list.clear")}
      </button>
      {deed !== null && (
        <Bulk
          deed={deed}
          ids={ids}
          onClose={() => setDeed(null)}
          onDone={() => {
            onClear();
            onDone();
          }}
        />
      )}
    </div>
  );
}

function Bulk({
  deed,
  ids,
  onClose,
  onDone,
}: {
  deed: Deed;
  ids: string[];
  onClose: () => void;
  onDone: () => void;
}): JSX.Element {
  const [done, setDone] = useState(0);
  const [refused, setRefused] = useState<string[]>([]);
  const [path, params] = ROUTES[deed];
  const run = async () => {
    setDone(0);
    const failures: string[] = [];
    for (const [index, id] of ids.entries()) {
      try {
        await post(path, { execution_id: id, ...params });
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
        setRefused([...failures]);
      }
      setDone(index + 1);
    }
    if (failures.length > 0) throw new Error(t("bulk.refused", { n: failures.length }));
    onDone();
  };
  return (
    <Confirm
      title={t(`bulk.${deed}.title`, { n: ids.length })}
      text={t(`bulk.${deed}.text`)}
      action={t(`bulk.${deed}`)}
      danger={deed === "cancel"}
      onClose={onClose}
      onDo={run}
    >
      {done > 0 && <p className="num">{t("bulk.done", { done, n: ids.length })}</p>}
      {refused.length > 0 && (
        <p className="muted">{[...new Set(refused)].slice(0, 3).join("; ")}</p>
      )}
    </Confirm>
  );
}
