/** The graph of one execution. Its layout stays when statuses change. */

import "@xyflow/react/dist/base.css";
import { type UseQueryResult, useQueries } from "@tanstack/react-query";
import { type NodeChange, Panel, ReactFlow, ReactFlowProvider, useReactFlow } from "@xyflow/react";
import {
  type DragEvent,
  type HTMLAttributes,
  type JSX,
  type RefObject,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { ask } from "../../api/client";
import type { Graph } from "../../api/types";
import { ErrorNote } from "../../parts/controls";
import { Icon } from "../../parts/icons";
import { statusWord } from "../../parts/status";
import { number, t } from "../../words";
import { type Layout, layoutIn, levelsOf, mayConnect, shiftInto } from "./layout";
import { GroupNode, Line, type LineType, TaskNode, type TaskNodeType } from "./nodes";

const NODE_TYPES = { task: TaskNode, group: GroupNode };
const EDGE_TYPES = { line: Line };
const LARGEST_ZOOM = 1.6;
const READABLE_ZOOM = 0.72;
const CONNECTION_PX = 60;
/** The type of what is dragged from a palette. */
export const DRAGGED = "application/x-rillflow-task";

interface Shown {
  id: string;
  event: number | null;
  task: string | null;
  open: readonly string[];
  onTask: (task: string | null) => void;
  onToggle: (route: string) => void;
}

export function GraphView(props: Shown): JSX.Element {
  return (
    <ReactFlowProvider>
      <Loaded {...props} />
    </ReactFlowProvider>
  );
}

function Loaded(props: Shown): JSX.Element {
  const { id, event, open } = props;
  const routes = ["", ...open];
  const answers = useQueries({
    queries: routes.map((route) => ({
      queryKey: ["graph.json", { execution_id: id, route, event }],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        ask<Graph>("graph.json", { execution_id: id, route, event }, signal),
      placeholderData: (before: Graph | undefined) => before,
    })),
  }) as UseQueryResult<Graph>[];
  const last = useRef(new Map<string, Graph>());
  const shown = new Map<string, Graph>();
  routes.forEach((route, index) => {
    // While another event is fetched, the graph before it stays.
    const found = answers[index]?.data ?? last.current.get(route);
    if (found !== undefined) shown.set(route, found);
  });
  last.current = shown;
  const failed = answers.find((answer) => answer.isError && answer.data === undefined);
  if (failed !== undefined) {
    return <ErrorNote error={failed.error} onRetry={() => void failed.refetch()} />;
  }
  if (!shown.has("")) return <div className="graph" aria-busy="true" />;
  if (shown.get("")?.nodes.length === 0) return <p className="muted">{t("graph.empty")}</p>;
  return <Drawn {...props} answers={shown} />;
}

/** The shape of a graph without its statuses: while it is equal, nothing moves. */
function shapeOf(answers: ReadonlyMap<string, Graph>): string {
  return JSON.stringify(
    [...answers].map(([route, graph]) => [
      route,
      graph.nodes.map((node) => [node.name, node.group !== null]),
      graph.edges?.map((edge) => [edge.from, edge.to, edge.label]),
    ]),
  );
}

/** What a graph that is written can be changed by with a pointer. */
export interface Changing {
  /** A line was drawn from one task to another one of the same level. */
  onConnect: (from: string, to: string) => void;
  /** What was dragged here was dropped on a task, or beside all of them. */
  onDrop: (dragged: string, task: string | null) => void;
}

interface Still {
  /** The levels that are shown, by their routes. */
  answers: ReadonlyMap<string, Graph>;
  task: string | null;
  onTask: (task: string | null) => void;
  onToggle: (route: string) => void;
  changing?: Changing;
}

/** A graph that is known: of a definition, or of a dry run. */
export function StillGraph(props: Still): JSX.Element {
  return (
    <ReactFlowProvider>
      <Drawn {...props} event={0} />
    </ReactFlowProvider>
  );
}

function Drawn({
  answers,
  task,
  event,
  onTask,
  onToggle,
  changing,
}: Still & { event: number | null }): JSX.Element {
  const area = useRef<HTMLDivElement>(null);
  const [box, setBox] = useState({ width: 900, height: 600 });
  useEffect(() => {
    const { clientWidth: width, clientHeight: height } = area.current ?? {};
    if (width !== undefined && height !== undefined && width > 0) setBox({ width, height });
  }, []);
  const shape = shapeOf(answers);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the shape stands for the answers
  const layout = useMemo(() => {
    const level = levelsOf(answers);
    return level === null ? null : layoutIn(level, box.width, box.height);
  }, [shape, box]);
  const nodes = useNodes(layout, answers, task, event === null, onToggle);
  const edges = useEdges(layout, answers);
  const choose = useCallback(
    (changes: NodeChange<TaskNodeType>[]) => {
      for (const change of changes) {
        if (change.type === "select" && change.selected) onTask(change.id);
      }
    },
    [onTask],
  );
  const drop = useDrop(changing);
  useInView(area, task);
  const top = answers.get("");
  return (
    <div className={changing === undefined ? "graph" : "graph changing"} ref={area} {...drop}>
      <Markers />
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        onNodesChange={choose}
        onPaneClick={() => onTask(null)}
        nodesDraggable={false}
        nodesConnectable={changing !== undefined}
        connectionRadius={CONNECTION_PX}
        isValidConnection={({ source, target }) => mayConnect(source, target)}
        onConnect={({ source, target }) => changing?.onConnect(source, target)}
        edgesFocusable={false}
        elementsSelectable
        zIndexMode="manual"
        onlyRenderVisibleElements
        minZoom={0.04}
        maxZoom={LARGEST_ZOOM}
        zoomOnDoubleClick={false}
        deleteKeyCode={null}
        selectionKeyCode={null}
        multiSelectionKeyCode={null}
        aria-label={t("graph.label")}
        proOptions={{ hideAttribution: true }}
      >
        <Fit layout={layout} box={box} />
        <ZoomButtons />
        {top !== undefined && top.nodes.length < top.total && (
          <Panel position="top-left" className="graph-note">
            {t("graph.more", { n: number(top.nodes.length), total: number(top.total) })}
          </Panel>
        )}
      </ReactFlow>
    </div>
  );
}

/** Move the graph where the selected task would lie beside its area, which the inspector narrows. */
function useInView(area: RefObject<HTMLDivElement | null>, task: string | null): void {
  const flow = useReactFlow();
  useEffect(() => {
    const shown = area.current;
    if (shown === null || task === null) return;
    const observer = new ResizeObserver(() => {
      const node = flow.getInternalNode(task);
      if (node === undefined) return;
      const { x, y, zoom } = flow.getViewport();
      const left = node.internals.positionAbsolute.x * zoom + x;
      const right = left + (node.measured.width ?? node.width ?? 0) * zoom;
      const by = shiftInto(left, right, shown.clientWidth);
      if (by !== 0) void flow.setViewport({ x: x + by, y, zoom });
    });
    observer.observe(shown);
    return () => observer.disconnect();
  }, [area, task, flow]);
}

/** Take what is dragged from the palette onto the graph. */
function useDrop(changing: Changing | undefined): HTMLAttributes<HTMLDivElement> {
  const over = useRef<Element | null>(null);
  if (changing === undefined) return {};
  const mark = (node: Element | null) => {
    if (over.current === node) return;
    over.current?.classList.remove("drop");
    node?.classList.add("drop");
    over.current = node;
  };
  const nodeOf = (event: DragEvent) => (event.target as Element).closest(".react-flow__node");
  return {
    onDragOver: (event) => {
      if (!event.dataTransfer.types.includes(DRAGGED)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      mark(nodeOf(event));
    },
    onDragLeave: (event) => {
      if (!event.currentTarget.contains(event.relatedTarget as Element | null)) mark(null);
    },
    onDrop: (event) => {
      const dragged = event.dataTransfer.getData(DRAGGED);
      if (dragged === "") return;
      event.preventDefault();
      mark(null);
      changing.onDrop(dragged, nodeOf(event)?.getAttribute("data-id") ?? null);
    },
  };
}

/** Show all of a graph when it is shown first, and when its shape has changed. */
function Fit({
  layout,
  box,
}: {
  layout: Layout | null;
  box: { width: number; height: number };
}): null {
  const { setViewport } = useReactFlow();
  useEffect(() => {
    if (layout === null) return;
    const space = 24;
    const zoom = Math.min(
      1,
      (box.width - 2 * space) / layout.width,
      (box.height - 2 * space) / layout.height,
    );
    // A deep graph is read from its top, at a size at which its names can be read.
    const readable = Math.max(zoom, READABLE_ZOOM);
    const first = layout.nodes.find((each) => each.parent === null && each.y === 0);
    const middle =
      layout.width * readable > box.width && first !== undefined
        ? first.x + first.width / 2
        : layout.width / 2;
    const x = box.width / 2 - middle * readable;
    const y =
      zoom < readable ? space : Math.max(space, (box.height - layout.height * readable) / 2);
    void setViewport({ x, y: Math.min(y, 64), zoom: readable });
  }, [layout, box, setViewport]);
  return null;
}

function ZoomButtons(): JSX.Element {
  const flow = useReactFlow();
  const buttons = [
    ["plus", "graph.zoomIn", () => flow.zoomIn()],
    ["minus", "graph.zoomOut", () => flow.zoomOut()],
    ["fit", "graph.fit", () => flow.fitView({ padding: 0.06, maxZoom: 1 })],
  ] as const;
  return (
    <Panel position="bottom-left" className="zoom">
      {buttons.map(([icon, label, act]) => (
        <button
          key={icon}
          type="button"
          className="button icon small"
          aria-label={t(label)}
          title={t(label)}
          onClick={() => void act()}
        >
          <Icon name={icon} />
        </button>
      ))}
    </Panel>
  );
}

function useNodes(
  layout: Layout | null,
  answers: ReadonlyMap<string, Graph>,
  task: string | null,
  isNow: boolean,
  onToggle: (route: string) => void,
): TaskNodeType[] {
  const before = useRef(new Map<string, TaskNodeType>());
  const tasks = new Map(
    [...answers.values()].flatMap((graph) => graph.nodes.map((n) => [n.name, n])),
  );
  const next = new Map<string, TaskNodeType>();
  for (const placed of layout?.nodes ?? []) {
    const name = placed.node.name;
    const node = tasks.get(name) ?? placed.node;
    const old = before.current.get(name);
    const isSelected = name === task;
    const isSame =
      old !== undefined &&
      old.data.isNow === isNow &&
      old.data.openRoute === placed.openRoute &&
      old.data.onToggle === onToggle &&
      old.position.x === placed.x &&
      old.position.y === placed.y &&
      old.width === placed.width &&
      old.height === placed.height &&
      (old.parentId ?? null) === placed.parent &&
      JSON.stringify(old.data.task) === JSON.stringify(node);
    if (isSame) {
      next.set(name, old.selected === isSelected ? old : { ...old, selected: isSelected });
      continue;
    }
    next.set(name, {
      id: name,
      type: node.group === null ? "task" : "group",
      position: { x: placed.x, y: placed.y },
      width: placed.width,
      height: placed.height,
      selected: isSelected,
      zIndex: 2 * placed.depth + 1,
      data: { task: node, openRoute: placed.openRoute, isNow, onToggle },
      ariaLabel: `${node.title ?? node.base}: ${statusWord(node.status)}`,
      ...(placed.parent === null ? {} : { parentId: placed.parent }),
    });
  }
  before.current = next;
  return [...next.values()];
}

function useEdges(layout: Layout | null, answers: ReadonlyMap<string, Graph>): LineType[] {
  const taken = new Map<string, boolean | null>();
  const skipped = new Set<string>();
  for (const graph of answers.values()) {
    graph.edges?.forEach((edge, index) => {
      taken.set(`${graph.route}/${edge.from}>${edge.to}#${index}`, edge.taken);
    });
    for (const node of graph.nodes) if (node.status === "skipped") skipped.add(node.name);
  }
  const state = JSON.stringify([[...taken], [...skipped]]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the state stands for both maps
  return useMemo(
    () =>
      (layout?.edges ?? []).map((placed): LineType => {
        const edge = { ...placed.edge, taken: taken.get(placed.id) ?? null };
        const isFaded = edge.taken === false || skipped.has(edge.from) || skipped.has(edge.to);
        return {
          id: placed.id,
          type: "line",
          source: edge.from,
          target: edge.to,
          zIndex: 2 * placed.depth,
          data: { placed: { ...placed, edge }, isFaded },
        };
      }),
    [layout, state],
  );
}

/** The ends of lines, in the colours of the theme. */
function Markers(): JSX.Element {
  return (
    <svg width="0" height="0" aria-hidden="true" className="markers">
      <defs>
        {["arrow", "arrow-taken"].map((id) => (
          <marker
            key={id}
            id={id}
            className={id}
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="8"
            markerHeight="8"
            markerUnits="userSpaceOnUse"
            orient="auto"
          >
            <path d="M1 1l6 3-6 3z" />
          </marker>
        ))}
      </defs>
    </svg>
  );
}
