/** What each task wrote into the context, in the order in which it was written, as differences. */

import { useInfiniteQuery } from "@tanstack/react-query";
import type { JSX } from "react";
import { goParams } from "../address";
import { ask } from "../api/client";
import type { Write, WritePage } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { LoadMore } from "../parts/load_more";
import { Clock } from "../parts/time";
import { number, t } from "../words";
import { ChangeLines } from "./change_list";

const LIMIT = 50;

export function WritesView({
  id,
  event,
  task,
  onTask,
}: {
  id: string;
  event: number | null;
  /** The instance that is selected. */
  task: string | null;
  onTask: (name: string | null) => void;
}): JSX.Element {
  const params = { execution_id: id, event, limit: LIMIT };
  const found = useInfiniteQuery({
    queryKey: ["writes.json", params],
    queryFn: ({ pageParam, signal }) =>
      ask<WritePage>("writes.json", { ...params, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
    placeholderData: (before) => before,
  });
  if (found.data === undefined) {
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  const { pages } = found.data;
  const writes = pages.flatMap((page) => page.writes);
  const leftOut = pages.reduce((sum, page) => sum + page.left_out, 0);
  return (
    <div className="stack">
      {writes.length === 0 && !found.hasNextPage && <p className="muted">{t("writes.none")}</p>}
      <ol className="writes">
        {writes.map((write, index) => (
          <Wrote
            // biome-ignore lint/suspicious/noArrayIndexKey: writes are only ever added at the end
            key={index}
            write={write}
            isChosen={write.task !== "" && write.task === task}
            onTask={onTask}
          />
        ))}
      </ol>
      {leftOut > 0 && <p className="muted">{t("writes.leftOut", { n: number(leftOut) })}</p>}
      {found.hasNextPage && (
        <LoadMore onLoad={() => void found.fetchNextPage()} isBusy={found.isFetching} />
      )}
    </div>
  );
}

function Wrote({
  write,
  isChosen,
  onTask,
}: {
  write: Write;
  isChosen: boolean;
  onTask: (name: string) => void;
}): JSX.Element {
  const { task, seq } = write;
  return (
    <li className={isChosen ? "chosen" : ""}>
      <div className="row wrap wrote">
        {task === "" ? (
          <strong>{t(write.kind === "submitted" ? "writes.submission" : "writes.redo")}</strong>
        ) : (
          <button type="button" className="button quiet small" onClick={() => onTask(task)}>
            <span className="mono" dir="auto">
              {task}
            </span>
          </button>
        )}
        <span className="grow" />
        <button
          type="button"
          className="button quiet small num"
          title={t("events.show")}
          onClick={() => goParams({ event: String(seq) })}
        >
          {t("writes.event", { seq: number(seq) })}
        </button>
        <span className="muted">
          <Clock ms={write.at_ms} isPrecise />
        </span>
      </div>
      <div className="diff mono">
        {write.changes.map((change) => (
          <ChangeLines key={change.path} change={change} />
        ))}
        {write.more > 0 && <div className="muted">{t("one.more", { n: number(write.more) })}</div>}
      </div>
    </li>
  );
}
