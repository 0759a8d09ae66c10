/** What can be done to the selected executions, or to all that a search finds. */

import { type JSX, useEffect, useRef, useState } from "react";
import { ask, post } from "../api/client";
import type { RowPage } from "../api/types";
import { Confirm, ErrorNote } from "../parts/controls";
import type { Done } from "../parts/done_note";
import { number, t } from "../words";
import { doneToAll } from "./done_to_all";
import { collect, type Deed, forAll, MOST_FOUND } from "./found";

const DEEDS = ["cancel", "redo", "resume"] as const;
const PAGE = 200;

const ROUTES: Readonly<Record<Deed, readonly [string, Record<string, string>]>> = {
  cancel: ["flow/cancel.json", {}],
  redo: ["flow/redo.json", { scope: "failed" }],
  resume: ["flow/resume.json", {}],
};

export function BulkBar({
  ids,
  search,
  onClear,
  onDone,
}: {
  ids: string[];
  search: string;
  onClear: () => void;
  onDone: (done: Done) => void;
}): JSX.Element | null {
  const [deed, setDeed] = useState<Deed | null>(null);
  const [isWhole, setWhole] = useState(false);
  if (ids.length === 0) return null;
  return (
    <div className="row wrap">
      {!isWhole && <span className="num">{t("list.selected", { n: ids.length })}</span>}
      {search !== "" && (
        <button
          type="button"
          className="button quiet small"
          aria-pressed={isWhole}
          onClick={() => setWhole(!isWhole)}
        >
          {t("list.selectFound")}
        </button>
      )}
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
          selected={ids}
          search={isWhole ? search : null}
          onClose={() => setDeed(null)}
          onDone={(done) => {
            onClear();
            onDone(done);
          }}
        />
      )}
    </div>
  );
}

function Bulk({
  deed,
  selected,
  search,
  onClose,
  onDone,
}: {
  deed: Deed;
  selected: readonly string[];
  /** The search whose executions are meant; null for those that are selected. */
  search: string | null;
  onClose: () => void;
  onDone: (done: Done) => void;
}): JSX.Element {
  const found = useFound(deed, search);
  const ids = search === null ? selected : found.ids;
  const [done, setDone] = useState(0);
  const [refused, setRefused] = useState<readonly string[]>([]);
  const isOpen = useRef(true);
  // Who closes the dialog stops what it does.
  useEffect(() => {
    isOpen.current = true;
    return () => {
      isOpen.current = false;
    };
  }, []);
  const [path, params] = ROUTES[deed];
  const run = async () => {
    setDone(0);
    const failures = await forAll(
      ids ?? [],
      (id) => post(path, { execution_id: id, ...params }),
      (count, told) => {
        setDone(count);
        setRefused([...told]);
      },
      () => isOpen.current,
    );
    if (failures.length > 0) throw new Error(t("bulk.refused", { n: failures.length }));
    onDone(doneToAll(deed, ids ?? []));
  };
  const n = number(ids?.length ?? found.count);
  return (
    <Confirm
      title={t(`bulk.${deed}.title`, { n })}
      text={t(`bulk.${deed}.text`)}
      action={t(`bulk.${deed}`)}
      danger={deed === "cancel"}
      isReady={ids !== null && ids.length > 0}
      onClose={onClose}
      onDo={run}
    >
      {search !== null && (
        <p aria-live="polite">
          {ids === null ? t("bulk.collecting", { n }) : t("bulk.found", { n })}{" "}
          <code dir="auto">{search}</code>
        </p>
      )}
      {!found.isWhole && <p className="muted">{t("bulk.most", { n: number(MOST_FOUND) })}</p>}
      {found.error !== null && <ErrorNote error={found.error} />}
      {done > 0 && (
        <div className="stack" aria-live="polite">
          <progress max={ids?.length ?? 0} value={done} aria-label={t(`bulk.${deed}`)} />
          <p className="num">{t("bulk.done", { done: number(done), n })}</p>
        </div>
      )}
      {refused.length > 0 && (
        <p className="muted">{[...new Set(refused)].slice(0, 3).join("; ")}</p>
      )}
    </Confirm>
  );
}

interface Found {
  ids: readonly string[] | null;
  count: number;
  isWhole: boolean;
  error: unknown;
}

/** Collect what a search finds and a deed concerns; `ids` is null until that is done. */
function useFound(deed: Deed, search: string | null): Found {
  const [found, setFound] = useState<Found>({ ids: null, count: 0, isWhole: true, error: null });
  useEffect(() => {
    if (search === null) return;
    const stop = new AbortController();
    const page = (cursor: string | null) =>
      ask<RowPage>("executions.json", { q: search, limit: PAGE, cursor }, stop.signal);
    collect(deed, page, (count) => {
      if (!stop.signal.aborted) setFound((before) => ({ ...before, count }));
      return !stop.signal.aborted;
    }).then(
      ({ ids, isWhole }) => {
        if (!stop.signal.aborted) setFound({ ids, count: ids.length, isWhole, error: null });
      },
      (error) => {
        if (!stop.signal.aborted) setFound({ ids: [], count: 0, isWhole: true, error });
      },
    );
    return () => stop.abort();
  }, [deed, search]);
  return found;
}
