/** A row for each task, with what it did and waited for over time. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { type JSX, type PointerEvent, useRef, useState } from "react";
import { useAnswer } from "../api/queries";
import type { Execution, Segment, Timeline, TimelineRow } from "../api/types";
import { duration } from "../format";
import { ErrorNote } from "../parts/controls";
import { StatusIcon } from "../parts/status";
import { useNow } from "../parts/time";
import { t } from "../words";

const ROW_PX = 32;
const LIMIT = 1000;
const KINDS = ["calling", "callback", "poll", "delay", "held", "groups", "steps"] as const;

interface Shown {
  execution: Execution;
  event: number | null;
  open: readonly string[];
  task: string | null;
  onTask: (task: string) => void;
}

export function TimelineView({ execution, event, open, task, onTask }: Shown): JSX.Element {
  const [chosen, setChosen] = useState("");
  const route = open.includes(chosen) ? chosen : "";
  const found = useAnswer<Timeline>("timeline.json", {
    execution_id: execution.execution_id,
    route,
    event,
    limit: LIMIT,
  });
  const now = useNow();
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const timeline = found.data;
  const from = timeline.from_ms ?? 0;
  const isOpen = timeline.rows.some((row) => row.segments.some((each) => each.to_ms === null));
  const end =
    isOpen && event === null ? Math.max(now, timeline.to_ms ?? 0) : (timeline.to_ms ?? now);
  return (
    <div className="timeline">
      <div className="row wrap legend">
        {open.length > 0 && (
          <select
            className="field small"
            aria-label={t("graph.path")}
            value={route}
            onChange={(change) => setChosen(change.target.value)}
          >
            {["", ...open].map((each) => (
              <option key={each} value={each}>
                {each === "" ? execution.feature : each}
              </option>
            ))}
          </select>
        )}
        {KINDS.filter((kind) =>
          timeline.rows.some((row) => row.segments.some((s) => s.kind === kind)),
        ).map((kind) => (
          <span key={kind} className="row small">
            <span className={`segment g-${kind}`} />
            {t(`timeline.${kind}`)}
          </span>
        ))}
        {timeline.rows.some((row) => row.critical) && (
          <span className="row small">
            <span className="critical-mark" />
            {t("timeline.critical")}
          </span>
        )}
      </div>
      {timeline.rows.length === 0 ? (
        <p className="muted">{t("timeline.empty")}</p>
      ) : (
        <Rows
          timeline={timeline}
          from={from}
          end={Math.max(end, from + 1)}
          task={task}
          onTask={onTask}
        />
      )}
    </div>
  );
}

function Rows({
  timeline,
  from,
  end,
  task,
  onTask,
}: {
  timeline: Timeline;
  from: number;
  end: number;
  task: string | null;
  onTask: (task: string) => void;
}): JSX.Element {
  const area = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const virtual = useVirtualizer({
    count: timeline.rows.length,
    getScrollElement: () => area.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  });
  const follow = (event: PointerEvent<HTMLElement>) => {
    const bars = event.currentTarget.querySelector(".bars")?.getBoundingClientRect();
    if (bars === undefined) return;
    const part = (event.clientX - bars.left) / bars.width;
    setAt(part >= 0 && part <= 1 ? part : null);
  };
  return (
    <div
      className="timeline-rows"
      role="table"
      aria-label={t("timeline.label")}
      onPointerMove={follow}
      onPointerLeave={() => setAt(null)}
    >
      <div className="timeline-row head" role="row">
        <span role="columnheader" className="muted small">
          {t("timeline.task")}
        </span>
        <span role="columnheader" className="bars ruler">
          <span className="unseen">{t("one.tab.timeline")}</span>
          {ticks(end - from).map((ms) => (
            <span key={ms} className="tick num" style={{ left: `${(ms / (end - from)) * 100}%` }}>
              {duration(ms)}
            </span>
          ))}
          {at !== null && (
            <span className="cursor num" style={{ left: `${at * 100}%` }}>
              <span className={at > 0.85 ? "before" : ""}>{duration(at * (end - from))}</span>
            </span>
          )}
        </span>
      </div>
      <div className="timeline-scroll" ref={area} role="rowgroup" tabIndex={0}>
        <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {virtual.getVirtualItems().map((item) => {
            const row = timeline.rows[item.index];
            return row === undefined ? null : (
              <Row
                key={row.name}
                row={row}
                top={item.start}
                from={from}
                end={end}
                isChosen={row.name === task}
                onTask={onTask}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Row({
  row,
  top,
  from,
  end,
  isChosen,
  onTask,
}: {
  row: TimelineRow;
  top: number;
  from: number;
  end: number;
  isChosen: boolean;
  onTask: (task: string) => void;
}): JSX.Element {
  return (
    <div
      role="row"
      className={`timeline-row ${isChosen ? "chosen" : ""}`}
      style={{ height: ROW_PX, transform: `translateY(${top}px)` }}
    >
      <span role="cell">
        <button type="button" className="task-name" onClick={() => onTask(row.name)}>
          <StatusIcon status={row.status} />
          <span className={`cut ${row.critical ? "critical" : ""}`} dir="auto">
            {row.base}
          </span>
        </button>
      </span>
      <span role="cell" className="bars">
        {row.segments.map((segment, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: segments are told apart by their place
          <Bar key={index} segment={segment} from={from} end={end} />
        ))}
      </span>
    </div>
  );
}

function Bar({ segment, from, end }: { segment: Segment; from: number; end: number }): JSX.Element {
  const until = Math.min(segment.to_ms ?? end, end);
  const left = ((segment.from_ms - from) / (end - from)) * 100;
  const width = (Math.max(0, until - segment.from_ms) / (end - from)) * 100;
  const said = [
    t(`timeline.${segment.kind}`),
    duration(until - segment.from_ms),
    segment.attempt == null ? "" : t("graph.attempts", { n: segment.attempt }),
    segment.error ?? "",
  ].filter((each) => each !== "");
  return (
    <span
      role="img"
      aria-label={said.join(", ")}
      title={said.join(", ")}
      className={`segment g-${segment.kind} ${segment.error ? "bad" : ""} ${segment.to_ms === null ? "open" : ""}`}
      style={{ left: `${left}%`, width: `max(3px, ${width}%)` }}
    />
  );
}

const NICE = [1, 2, 5];
const UNITS = [1, 10, 100, 1000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 86_400_000];

/** Round lengths of time, some five of them. */
export function ticks(lengthMs: number): number[] {
  const steps = UNITS.flatMap((unit) => NICE.map((each) => each * unit)).sort((a, b) => a - b);
  const step = steps.find((each) => lengthMs / each <= 6) ?? lengthMs;
  const found: number[] = [];
  for (let ms = 0; ms <= lengthMs * 0.97; ms += step) found.push(ms);
  return found;
}
