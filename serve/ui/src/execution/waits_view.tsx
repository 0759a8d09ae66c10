/** What an execution waits for, now or after an event: calls, callbacks, timers, what holds it back. */

import { useInfiniteQuery } from "@tanstack/react-query";
import type { JSX } from "react";
import { ask } from "../api/client";
import type { Wait, WaitPage } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { LoadMore } from "../parts/load_more";
import { StatusIcon } from "../parts/status";
import { useNow } from "../parts/time";
import { t } from "../words";
import { waitSentence } from "./waiting";

const LIMIT = 100;

export function WaitsView({
  id,
  event,
  onTask,
}: {
  id: string;
  event: number | null;
  onTask: (task: string) => void;
}): JSX.Element {
  const found = useInfiniteQuery({
    queryKey: ["waits.json", { execution_id: id, event }],
    queryFn: ({ pageParam, signal }) =>
      ask<WaitPage>(
        "waits.json",
        { execution_id: id, event, limit: LIMIT, offset: pageParam },
        signal,
      ),
    initialPageParam: null as string | number | null,
    getNextPageParam: (last) => last.next,
  });
  const now = useNow();
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const { pages } = found.data;
  const waits = pages.flatMap((page) => page.waits);
  const at = event === null ? now : (pages[0]?.at_ms ?? now);
  if (waits.length === 0) return <p className="muted">{t("waits.none")}</p>;
  return (
    <div className="events">
      <ul className="event-list">
        {waits.map((wait, index) => (
          <Row
            // biome-ignore lint/suspicious/noArrayIndexKey: a task may wait for several things
            key={`${wait.task}/${wait.kind}/${index}`}
            wait={wait}
            at={at}
            onTask={onTask}
          />
        ))}
      </ul>
      {found.hasNextPage && (
        <LoadMore onLoad={() => void found.fetchNextPage()} isBusy={found.isFetching} />
      )}
    </div>
  );
}

function Row({
  wait,
  at,
  onTask,
}: {
  wait: Wait;
  /** The time at which it is told. */
  at: number;
  onTask: (task: string) => void;
}): JSX.Element {
  const { task } = wait;
  const said = <span dir="auto">{waitSentence(wait, at)}</span>;
  return (
    <li>
      {task ? (
        <button type="button" className="task-name wait" onClick={() => onTask(task)}>
          <StatusIcon status={wait.status ?? "waiting"} />
          {said}
        </button>
      ) : (
        <span className="task-name wait">{said}</span>
      )}
    </li>
  );
}
