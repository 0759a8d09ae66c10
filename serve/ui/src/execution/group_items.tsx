/** The items of a group: a list to look through, by status. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type JSX, useRef, useState } from "react";
import { ask } from "../api/client";
import type { GroupState, ItemPage, Status } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { StatusIcon, statusWord } from "../parts/status";
import { number, t } from "../words";
import { GroupBar, partsOf } from "./group_bar";

const ROW_PX = 32;
const LIMIT = 200;

export function GroupItems({
  id,
  task,
  group,
  event,
  onToggle,
}: {
  id: string;
  task: string;
  group: GroupState;
  event: number | null;
  onToggle: (route: string) => void;
}): JSX.Element {
  const [status, setStatus] = useState<Status | "">("");
  const params = { execution_id: id, task, status, event, limit: LIMIT };
  const found = useInfiniteQuery({
    queryKey: ["items.json", params],
    queryFn: ({ pageParam, signal }) =>
      ask<ItemPage>("items.json", { ...params, offset: pageParam }, signal),
    initialPageParam: 0 as number | string,
    getNextPageParam: (last) => last.next,
  });
  const items = found.data?.pages.flatMap((page) => page.items) ?? [];
  const area = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: items.length,
    getScrollElement: () => area.current,
    estimateSize: () => ROW_PX,
    onChange: ({ range }) => {
      if (range !== null && range.endIndex > items.length - 20 && found.hasNextPage) {
        if (!found.isFetching) void found.fetchNextPage();
      }
    },
  });
  return (
    <div className="stack group-items">
      <GroupBar group={group} />
      <select
        className="field"
        aria-label={t("inspector.items")}
        value={status}
        onChange={(change) => setStatus(change.target.value as Status | "")}
      >
        <option value="">
          {t("inspector.allStatuses")} ({number(group.total)})
        </option>
        {partsOf(group).map(([each, count]) => (
          <option key={each} value={each}>
            {statusWord(each)} ({number(count)})
          </option>
        ))}
      </select>
      {found.isError && <ErrorNote error={found.error} />}
      <div
        className="item-list"
        ref={area}
        tabIndex={0}
        role="group"
        aria-label={t("inspector.items")}
      >
        <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {virtual.getVirtualItems().map((row) => {
            const item = items[row.index];
            if (item === undefined) return null;
            return (
              <button
                type="button"
                key={item.index}
                className="item-row"
                style={{ height: ROW_PX, transform: `translateY(${row.start}px)` }}
                onClick={() => onToggle(item.route)}
              >
                <StatusIcon status={item.status} />
                <span className="unseen">{t("graph.openItem", { index: item.index })}</span>
                <span className="num muted">{item.index}</span>
                <span className="cut grow" dir="auto" title={item.failure?.message ?? undefined}>
                  {item.failure?.sentence ??
                    item.failure?.message ??
                    item.identity ??
                    item.condition ??
                    ""}
                </span>
                {item.progress !== null && (
                  <span className="num muted">
                    {item.progress.done}/{item.progress.total}
                  </span>
                )}
              </button>
            );
          })}
        </div>
      </div>
    </div>
  );
}
