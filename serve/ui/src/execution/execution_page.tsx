/** One execution: a sentence first, then graph, timeline, events and context, and a task beside. */

import "../styles/execution.css";
import { type JSX, Suspense, useCallback, useEffect, useState } from "react";
import { formatAddress, goParams, useAddress } from "../address";
import { ApiError } from "../api/client";
import { useAnswer, useRefresh, useStream } from "../api/queries";
import type { Execution } from "../api/types";
import { ErrorNote, Tabs } from "../parts/controls";
import type { Done } from "../parts/done_note";
import { lazyPart } from "../parts/lazy_part";
import { noteServerTime } from "../parts/time";
import { number, t } from "../words";
import { ContextView } from "./context_view";
import { EventsView } from "./events_view";
import { Header } from "./header";
import { Inspector } from "./inspector";
import { InspectorEdge, useInspectorWidth } from "./inspector_edge";
import { opened, toggleItem } from "./open_items";
import { TimeSlider } from "./time_slider";
import { TimelineView } from "./timeline_view";
import { WaitsView } from "./waits_view";

const GraphView = lazyPart(async () => ({
  default: (await import("./graph/graph_view")).GraphView,
}));

const Playground = lazyPart(async () => ({
  default: (await import("../editor/playground")).Playground,
}));

const TABS = ["graph", "timeline", "waits", "events", "context", "whatif"] as const;
type TabName = (typeof TABS)[number];
const REFRESH_MS = 200;
/** Rules and writes are found by replaying the journal, which costs more than a view. */
const REPLAYS_MS = 2000;

/** What is asked anew when the execution goes on. */
const LIVE = [
  "execution.json",
  "graph.json",
  "timeline.json",
  "events.json",
  "context.json",
  "items.json",
  "task.json",
  "waits.json",
];

export default function ExecutionPage({ id }: { id: string }): JSX.Element {
  const { params } = useAddress();
  const event = Number(params.event ?? 0) || null;
  const now = useAnswer<Execution>("execution.json", { execution_id: id, event: null });
  const past = useAnswer<Execution>(
    "execution.json",
    { execution_id: id, event },
    { enabled: event !== null },
  );
  const found = event === null ? now : past;
  const live = useLive(id, now.data?.seq ?? 0);
  useEffect(() => {
    if (now.data !== undefined) noteServerTime(now.data.at_ms);
  }, [now.data]);
  if (found.data === undefined) {
    if (found.error instanceof ApiError && found.error.status === 404) {
      return <Unknown id={id} />;
    }
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  const present = now.data ?? found.data;
  return <Loaded execution={found.data} now={present} event={event} live={live} />;
}

function Unknown({ id }: { id: string }): JSX.Element {
  return (
    <div className="nothing stack">
      <h1>{t("one.unknown")}</h1>
      <p className="mono muted" dir="auto">
        {id}
      </p>
      <div>
        <a className="button" href={formatAddress(["executions"])}>
          {t("keys.executions")}
        </a>
      </div>
    </div>
  );
}

interface Live {
  lastSeq: number;
  isLost: boolean;
  isGone: boolean;
}

/** Follow an execution: what is shown is asked anew a moment after each event. */
function useLive(id: string, known: number): Live {
  const refresh = useRefresh(REFRESH_MS);
  const refreshReplays = useRefresh(REPLAYS_MS);
  const [lastSeq, setLastSeq] = useState(0);
  const [isGone, setGone] = useState(false);
  const state = useStream("execution.stream", { execution_id: id }, (kind, data) => {
    if (kind === "gone") setGone(true);
    const seq = Number((data as { seq?: number }).seq ?? 0);
    setLastSeq((before) => Math.max(before, seq));
    if (seq === known && kind === "changed") return;
    for (const path of LIVE) refresh([path]);
    refreshReplays(["rules.json"]);
    refreshReplays(["writes.json"]);
  });
  return { lastSeq: Math.max(lastSeq, known), isLost: state === "lost", isGone };
}

function Loaded({
  execution,
  now,
  event,
  live,
}: {
  execution: Execution;
  now: Execution;
  event: number | null;
  live: Live;
}): JSX.Element {
  const { params } = useAddress();
  const id = execution.execution_id;
  const tab = TABS.find((each) => each === params.tab) ?? "graph";
  const task = params.task ?? null;
  const open = opened(params.open);
  const onTask = useCallback((name: string | null) => goParams({ task: name }), []);
  const onToggle = useCallback((route: string) => toggleItem(route), []);
  const [width, style, onWidth] = useInspectorWidth();
  const [done, setDone] = useState<Done | null>(null);
  const views: Readonly<Record<TabName, () => JSX.Element>> = {
    graph: () => (
      <GraphView
        id={id}
        event={event}
        task={task}
        open={open}
        onTask={onTask}
        onToggle={onToggle}
      />
    ),
    timeline: () => (
      <TimelineView execution={execution} event={event} open={open} task={task} onTask={onTask} />
    ),
    waits: () => <WaitsView id={id} event={event} onTask={onTask} />,
    events: () => <EventsView id={id} event={event} task={task} />,
    context: () => (
      <ContextView
        execution={execution}
        event={event}
        open={open}
        task={task}
        isByTask={params.by === "task"}
        onTask={onTask}
      />
    ),
    whatif: () => (
      <Playground flow={null} execution={id} event={event} task={task} onExecution={null} />
    ),
  };
  return (
    <div className="execution">
      <Header
        execution={execution}
        now={now}
        event={event}
        task={task}
        done={done}
        onDone={setDone}
      />
      {live.isLost && <div className="note">{t("list.lost")}</div>}
      {live.isGone && <div className="note">{t("one.gone")}</div>}
      <Tabs
        label={execution.feature}
        chosen={tab}
        onChoose={(name) => goParams({ tab: name === "graph" ? null : name })}
        tabs={TABS.map((name) => ({
          name,
          label: (
            <>
              {t(`one.tab.${name}`)}
              {name === "events" && <span className="muted num"> {number(live.lastSeq)}</span>}
            </>
          ),
        }))}
      />
      <div className="execution-body" style={style}>
        <div className="view" role="tabpanel" aria-label={t(`one.tab.${tab}`)}>
          <Suspense fallback={<div className="graph" aria-busy="true" />}>{views[tab]()}</Suspense>
        </div>
        {task !== null && (
          <>
            <InspectorEdge width={width} onWidth={onWidth} />
            <Inspector
              key={task}
              execution={execution}
              task={task}
              event={event}
              onToggle={onToggle}
              onClose={() => onTask(null)}
              onDone={setDone}
            />
          </>
        )}
      </div>
      <TimeSlider id={id} event={event} lastSeq={live.lastSeq} />
    </div>
  );
}
