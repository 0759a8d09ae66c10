/** The executions: counts and a histogram, one search, a table that is live. */

import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import type { RowSelectionState } from "@tanstack/react-table";
import { type JSX, useEffect, useMemo, useState } from "react";
import { goParams, useAddress } from "../address";
import { ask } from "../api/client";
import { useAnswer, useRefresh, useStream } from "../api/queries";
import type { Counts, RowPage, StreamedChanges } from "../api/types";
import { type Done, DoneNote } from "../parts/done_note";
import { LoadMore } from "../parts/load_more";
import { Clock, noteServerTime } from "../parts/time";
import { t } from "../words";
import { BulkBar } from "./bulk";
import { CountToggles, Range } from "./counts";
import { EmptyState } from "./empty_state";
import { Histogram } from "./histogram";
import { RedoOne } from "./redo_one";
import { SavedViews } from "./saved_views";
import { hasContext, searchValue, statusesOf, withValue } from "./search";
import { SearchBox } from "./search_box";
import { SearchError } from "./search_error";
import { ExecutionTable } from "./table";
import { WorkspaceChoice } from "./workspace_choice";

const LIMIT = 100;
const BUCKETS = 90;
const COUNTS_MS = 1000;
/** So many pages without a row are followed by the next one before a person is asked. */
const MOST_EMPTY = 20;
const NONE: RowSelectionState = {};

export function ExecutionsPage(): JSX.Element {
  const { params } = useAddress();
  const text = params.q ?? "";
  const search = (next: string) => goParams({ q: next });
  const rows = useRows(text);
  const counts = useAnswer<Counts>("counts.json", { q: text, buckets: BUCKETS });
  const [selection, setSelection] = useState(NONE);
  const [redone, setRedone] = useState<string | null>(null);
  const [done, setDone] = useState<Done | null>(null);
  const live = useLiveRows(text, rows.known);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another search has other rows
  useEffect(() => setSelection(NONE), [text]);
  useEffect(() => {
    if (counts.data !== undefined) noteServerTime(counts.data.at_ms);
  }, [counts.data]);

  const isEmptyServer = text === "" && rows.isLoaded && rows.all.length === 0;
  const show = () => {
    live.clear();
    void rows.reload();
  };
  return (
    <div className="stack">
      <h1 className="unseen">{t("list.title")}</h1>
      {live.isLost && <div className="note">{t("list.lost")}</div>}
      <div className="search-row">
        <SearchBox text={text} onSearch={search} />
        <WorkspaceChoice text={text} onSearch={search} />
        <Range text={text} onSearch={search} />
        <SavedViews text={text} onSearch={search} />
      </div>
      {isEmptyServer ? (
        <EmptyState />
      ) : (
        <>
          <div className="over-table">
            <CountToggles counts={counts.data} text={text} onSearch={search} />
            {counts.data === undefined ? (
              <div className="histogram" />
            ) : (
              <Histogram
                counts={counts.data}
                onSpan={(from, to) =>
                  search(withValue(withValue(text, "since", iso(from)), "until", iso(to)))
                }
              />
            )}
          </div>
          {rows.error !== null && (
            <SearchError
              error={rows.error}
              text={text}
              onSearch={search}
              onRetry={() => void rows.reload()}
            />
          )}
          <div className="table-top">
            <BulkBar
              ids={Object.keys(selection)}
              search={text}
              onClear={() => setSelection(NONE)}
              onDone={(told) => {
                setDone(told);
                void rows.reload();
              }}
            />
            {live.fresh > 0 && (
              <button type="button" className="button small" onClick={show}>
                {t("list.newRows", { n: live.fresh })}
              </button>
            )}
          </div>
          {done !== null && <DoneNote done={done} onDone={setDone} />}
          {rows.all.length > 0 && (
            <ExecutionTable
              rows={rows.all}
              selection={selection}
              onSelection={setSelection}
              onRedo={setRedone}
              onEnd={rows.more}
            />
          )}
          {rows.unread > 0 && <p className="muted">{t("list.unread", { n: rows.unread })}</p>}
          <End rows={rows} onShowAll={() => search("")} />
          {redone !== null && (
            <RedoOne id={redone} onClose={() => setRedone(null)} onDone={setDone} />
          )}
        </>
      )}
    </div>
  );
}

function End({ rows, onShowAll }: { rows: Rows; onShowAll: () => void }): JSX.Element | null {
  if (!rows.isLoaded || rows.error !== null) return null;
  if (rows.hasMore) {
    return (
      <div className="row muted">
        {rows.searchedToMs !== null && rows.all.length === 0 && (
          <span>
            {t("list.searchedTo")} <Clock ms={rows.searchedToMs} />
          </span>
        )}
        <LoadMore
          onLoad={rows.more}
          isBusy={rows.isSearchedOn}
          label={rows.all.length === 0 ? t("list.searchOn") : undefined}
        />
      </div>
    );
  }
  if (rows.all.length > 0) return null;
  return (
    <div className="nothing stack">
      <p>{t("list.nothing")}</p>
      <div>
        <button type="button" className="button" onClick={onShowAll}>
          {t("list.showAll")}
        </button>
      </div>
    </div>
  );
}

type Rows = ReturnType<typeof useRows>;

function useRows(text: string) {
  const client = useQueryClient();
  const key = ["executions.json", text];
  const found = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) =>
      ask<RowPage>("executions.json", { q: text, limit: LIMIT, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
    staleTime: 0,
    gcTime: 0,
  });
  const all = useMemo(() => found.data?.pages.flatMap((page) => page.rows) ?? [], [found.data]);
  const { hasNextPage, isFetching, fetchNextPage } = found;
  const isSearchedOn =
    found.isSuccess && all.length === 0 && hasNextPage && found.data.pages.length <= MOST_EMPTY;
  // The server looks at a part of what may be found, and says to where.
  useEffect(() => {
    if (isSearchedOn && !isFetching) void fetchNextPage();
  }, [isSearchedOn, isFetching, fetchNextPage]);
  const known = useMemo(() => new Set(all.map((row) => row.execution_id)), [all]);
  return {
    all,
    known,
    isLoaded: found.isSuccess,
    error: found.error,
    hasMore: hasNextPage,
    isSearchedOn,
    searchedToMs: found.data?.pages.at(-1)?.searched_to_ms ?? null,
    unread: found.data?.pages.reduce((sum, page) => sum + page.unread, 0) ?? 0,
    more: () => {
      if (hasNextPage && !isFetching) void fetchNextPage();
    },
    reload: () => client.resetQueries({ queryKey: key }),
  };
}

/** Keep the rows up to date: known ones in place; new ones are counted, and shown when asked for. */
function useLiveRows(text: string, known: ReadonlySet<string>) {
  const client = useQueryClient();
  const refresh = useRefresh(COUNTS_MS);
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  // biome-ignore lint/correctness/useExhaustiveDependencies: another search has other rows
  useEffect(() => setFresh(new Set()), [text]);
  const flow = searchValue(text, "flow");
  const state = useStream("executions.stream", { flow }, (kind, data) => {
    refresh(["counts.json"]);
    // What changed between the first answer and the begin of the stream was in neither.
    if (kind !== "changed") {
      refresh(["executions.json"]);
      refresh(["summary"]);
      return;
    }
    const { executions, at_ms: at, more } = data as StreamedChanges;
    noteServerTime(at);
    // Where very many have changed, not all of them are named.
    if ((more ?? 0) > 0) refresh(["summary"]);
    for (const { execution_id: id } of executions.filter((each) => known.has(each.execution_id))) {
      void client.invalidateQueries({ queryKey: ["summary", id] });
    }
    const added = executions
      .filter((each) => each.is_new && !known.has(each.execution_id) && mayMatch(text))
      .map((each) => each.execution_id);
    if (added.length === 0) return;
    if (known.size === 0) refresh(["executions.json"]);
    else setFresh((before) => new Set([...before, ...added]));
  });
  // One that the list has by now is not new.
  const unseen = [...fresh].filter((id) => !known.has(id)).length;
  return { fresh: unseen, clear: () => setFresh(new Set()), isLost: state === "lost" };
}

/** Tell whether an execution that has just started may be found by a search. */
function mayMatch(text: string): boolean {
  const statuses = statusesOf(text);
  const isOpen = statuses.length === 0 || statuses.some((each) => !/^(succ|fail|canc)/.test(each));
  // Whether a new execution has a value of the context is not told.
  if (hasContext(text)) return false;
  return isOpen && searchValue(text, "until") === null && searchValue(text, "id") === null;
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
