/** A row for each task, with what it did and waited for over time. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { type JSX, type PointerEvent, useRef, useState } from "react";
import { useAnswer } from "../api/queries";
import type { Execution, Segment, Timeline, TimelineRow } from "../api/types";
import { duration } from "../format";
import { ErrorNote, IconButton } from "../parts/controls";
import { StatusIcon } from "../parts/status";
import { useNow } from "../parts/time";
import { useWidth } from "../parts/width";
import { t } from "../words";
import { ticks, tickWord } from "./ruler";
import { between, moved, placed, type Span, zoomed } from "./time_span";

const ROW_PX = 32;
const LIMIT = 1000;
const KINDS = [
  "calling",
  "callback",
  "sub_flow",
  "poll",
  "delay",
  "held",
  "groups",
  "steps",
] as const;

interface Shown {
  execution: Execution;
  event: number | null;
  open: readonly string[];
  task: string | null;
  onTask: (task: string) => void;
}

export function TimelineView({ execution, event, open, task, onTask }: Shown): JSX.Element {
  const [chosen, setChosen] = useState("");
  const [span, setSpan] = useState<Span | null>(null);
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
  const whole = { from, end: Math.max(end, from + 1) };
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
        <span className="grow" />
        <Zoom span={span} whole={whole} onSpan={setSpan} />
      </div>
      {timeline.rows.length === 0 ? (
        <p className="muted">{t("timeline.empty")}</p>
      ) : (
        <Rows
          timeline={timeline}
          span={span ?? whole}
          whole={whole}
          onSpan={setSpan}
          task={task}
          onTask={onTask}
        />
      )}
    </div>
  );
}

/** The buttons that show a part of the time; it is also chosen by dragging. */
function Zoom({
  span,
  whole,
  onSpan,
}: {
  span: Span | null;
  whole: Span;
  onSpan: (span: Span | null) => void;
}): JSX.Element {
  const shown = span ?? whole;
  const deeds = [
    ["back", "timeline.earlier", moved(shown, whole, -0.5), span === null],
    ["forward", "timeline.later", moved(shown, whole, 0.5), span === null],
    ["minus", "graph.zoomOut", zoomed(shown, whole, 2), span === null],
    ["plus", "graph.zoomIn", zoomed(shown, whole, 0.5), false],
    ["fit", "graph.fit", null, span === null],
  ] as const;
  return (
    <span className="row span-deeds">
      {deeds.map(([icon, label, next, isOff]) => (
        <IconButton
          key={icon}
          icon={icon}
          label={t(label)}
          isOff={isOff}
          onClick={() => onSpan(next)}
        />
      ))}
    </span>
  );
}

/** A drag over less than this part of the time is a click. */
const LEAST_DRAG = 0.01;

function Rows({
  timeline,
  span,
  whole,
  onSpan,
  task,
  onTask,
}: {
  timeline: Timeline;
  span: Span;
  whole: Span;
  onSpan: (span: Span | null) => void;
  task: string | null;
  onTask: (task: string) => void;
}): JSX.Element {
  const area = useRef<HTMLDivElement>(null);
  const [ruler, width] = useWidth<HTMLSpanElement>();
  const [at, setAt] = useState<number | null>(null);
  const [dragged, setDragged] = useState<number | null>(null);
  const { from, end } = span;
  const virtual = useVirtualizer({
    count: timeline.rows.length,
    getScrollElement: () => area.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  });
  const placeOf = (event: PointerEvent<HTMLElement>): number | null => {
    const bars = event.currentTarget.querySelector(".bars")?.getBoundingClientRect();
    if (bars === undefined) return null;
    const part = (event.clientX - bars.left) / bars.width;
    return part >= 0 && part <= 1 ? part : null;
  };
  const drop = (event: PointerEvent<HTMLElement>) => {
    const part = placeOf(event) ?? at;
    if (dragged !== null && part !== null && Math.abs(part - dragged) > LEAST_DRAG) {
      onSpan(between(span, dragged, part, whole));
    }
    setDragged(null);
  };
  return (
    <div
      className="timeline-rows"
      role="table"
      aria-label={t("timeline.label")}
      onPointerMove={(event) => setAt(placeOf(event))}
      onPointerDown={(event) => {
        // A finger scrolls; it has the buttons.
        if (event.pointerType !== "touch" && event.button === 0) setDragged(placeOf(event));
      }}
      onPointerUp={drop}
      onPointerLeave={() => {
        setAt(null);
        setDragged(null);
      }}
    >
      <div className="timeline-row head" role="row">
        <span role="columnheader" className="muted small">
          {t("timeline.task")}
        </span>
        <span role="columnheader" className="bars ruler" ref={ruler}>
          <span className="unseen">{t("one.tab.timeline")}</span>
          {ticks(end - from, from - whole.from, width).map((ms) => (
            <span
              key={ms}
              className="tick num"
              style={{ left: `${((ms + whole.from - from) / (end - from)) * 100}%` }}
            >
              {tickWord(ms, end - from)}
            </span>
          ))}
          {dragged !== null && at !== null && (
            <span
              className="dragged"
              style={{
                left: `${Math.min(dragged, at) * 100}%`,
                width: `${Math.abs(at - dragged) * 100}%`,
              }}
            />
          )}
          {at !== null && (
            <span className="cursor num" style={{ left: `${at * 100}%` }}>
              <span className={at > 0.85 ? "before" : ""}>
                {duration(from - whole.from + at * (end - from))}
              </span>
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
                span={span}
                until={whole.end}
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
  span,
  until,
  isChosen,
  onTask,
}: {
  row: TimelineRow;
  top: number;
  span: Span;
  until: number;
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
          <Bar key={index} segment={segment} span={span} end={until} />
        ))}
      </span>
    </div>
  );
}

function Bar({
  segment,
  span,
  end,
}: {
  segment: Segment;
  span: Span;
  /** When what has not ended ends in the picture. */
  end: number;
}): JSX.Element | null {
  const until = Math.max(segment.from_ms, Math.min(segment.to_ms ?? end, end));
  const place = placed({ from: segment.from_ms, end: until }, span);
  if (place === null) return null;
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
      style={{ left: `${place.left}%`, width: `max(3px, ${place.width}%)` }}
    />
  );
}
