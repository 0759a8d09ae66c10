/** The marks of the graph: a task, a group with the strip of its items, and a line. */

import {
  BaseEdge,
  type Edge,
  EdgeLabelRenderer,
  type EdgeProps,
  Handle,
  type Node,
  type NodeProps,
  Position,
  useStore,
} from "@xyflow/react";
import { type JSX, memo } from "react";
import type { GraphNode, Status } from "../../api/types";
import { cut } from "../../format";
import { Icon } from "../../parts/icons";
import { StatusIcon, statusWord } from "../../parts/status";
import { Took } from "../../parts/time";
import { number, t } from "../../words";
import { GroupBar, STRIP } from "../group_bar";
import { warningsOf } from "../told";
import { indexOf, type PlacedEdge, pathOf } from "./layout";

export interface NodeData extends Record<string, unknown> {
  readonly task: GraphNode;
  readonly openRoute: string | null;
  readonly isNow: boolean;
  readonly onToggle: (route: string) => void;
}

export interface EdgeData extends Record<string, unknown> {
  readonly placed: PlacedEdge;
  /** Whether it leads to or from a part that was skipped. */
  readonly isFaded: boolean;
}

export type TaskNodeType = Node<NodeData, "task" | "group">;
export type LineType = Edge<EdgeData, "line">;

const MOST_BUTTONS = 24;
const FAR = 0.42;

function useFar(): boolean {
  return useStore((state) => state.transform[2] < FAR);
}

export const TaskNode = memo(function TaskNode({ data }: NodeProps<TaskNodeType>): JSX.Element {
  const { task } = data;
  const isFar = useFar();
  return (
    <div className={`task is-${task.status} ${isFar ? "far" : ""}`}>
      <Ends />
      <StatusIcon status={task.status} label={false} />
      {!isFar && (
        <div className="grow">
          <div className="cut name" dir="auto">
            {task.title ?? task.base}
          </div>
          <div className="cut muted small">
            <Below task={task} isNow={data.isNow} />
          </div>
        </div>
      )}
    </div>
  );
});

function Below({ task, isNow }: { task: GraphNode; isNow: boolean }): JSX.Element {
  const isOpen = ["running", "waiting", "delayed", "held"].includes(task.status);
  return (
    <>
      {task.category}
      {task.started_ms !== null && (task.ended_ms !== null || (isOpen && isNow)) && (
        <>
          {" · "}
          <Took fromMs={task.started_ms} toMs={task.ended_ms} idleMs={task.idle_ms} />
        </>
      )}
      {task.attempts > 1 && <> · {t("graph.attempts", { n: task.attempts })}</>}
      {task.status === "skipped" && <> · {statusWord("skipped")}</>}
      {task.mapping_warnings > 0 && (
        <>
          {" · "}
          <span className="warned" title={warningsOf(task.mapping_warnings)}>
            {t(task.mapping_warnings === 1 ? "graph.warning" : "graph.warnings", {
              n: number(task.mapping_warnings),
            })}
          </span>
        </>
      )}
    </>
  );
}

export const GroupNode = memo(function GroupNode({ data }: NodeProps<TaskNodeType>): JSX.Element {
  const { task, openRoute, onToggle } = data;
  const isFar = useFar();
  const group = task.group;
  if (group === null) return <TaskNode {...({ data } as NodeProps<TaskNodeType>)} />;
  return (
    <div
      className={`task group is-${task.status} ${isFar ? "far" : ""} ${openRoute ? "open" : ""}`}
    >
      <Ends />
      <div className="group-head">
        <StatusIcon status={task.status} label={false} />
        <div className="cut name grow" dir="auto">
          {task.title ?? task.base}
        </div>
        <span className="num">
          {group.note ?? t("graph.group", { done: number(group.done), total: number(group.total) })}
        </span>
      </div>
      {!isFar && (
        <>
          <div className="cut muted small">
            <Below task={task} isNow={data.isNow} />
          </div>
          <div className="strip" hidden={group.note !== undefined && group.total < 2}>
            {group.total <= MOST_BUTTONS ? (
              [...group.strip].map((mark, index) => (
                <ItemButton
                  // biome-ignore lint/suspicious/noArrayIndexKey: items are told apart by their index
                  key={index}
                  status={STRIP[mark] ?? "not_started"}
                  index={index}
                  isOpen={openRoute !== null && indexOf(openRoute) === index}
                  onToggle={() => onToggle(`${task.name}_${index}`)}
                />
              ))
            ) : (
              <GroupBar group={group} />
            )}
            {openRoute !== null && group.note === undefined && (
              <button
                type="button"
                className="close-item nodrag"
                aria-label={t("graph.closeItem", { index: indexOf(openRoute) })}
                onClick={(event) => {
                  event.stopPropagation();
                  onToggle(openRoute);
                }}
              >
                <span className="num">{indexOf(openRoute)}</span>
                <Icon name="close" />
              </button>
            )}
          </div>
        </>
      )}
    </div>
  );
});

function ItemButton({
  status,
  index,
  isOpen,
  onToggle,
}: {
  status: Status;
  index: number;
  isOpen: boolean;
  onToggle: () => void;
}): JSX.Element {
  return (
    <button
      type="button"
      className={`item nodrag s-${status}`}
      aria-pressed={isOpen}
      aria-label={t("graph.item", { index, status: statusWord(status) })}
      title={t("graph.item", { index, status: statusWord(status) })}
      onClick={(event) => {
        event.stopPropagation();
        onToggle();
      }}
    >
      <StatusIcon status={status} label={false} />
    </button>
  );
}

/** Where lines begin and end; they are drawn from the layout, and React Flow needs these. */
function Ends(): JSX.Element {
  return (
    <>
      <Handle type="target" position={Position.Top} />
      <Handle type="source" position={Position.Bottom} />
    </>
  );
}

export const Line = memo(function Line({ data }: EdgeProps<LineType>): JSX.Element | null {
  if (data === undefined) return null;
  const { edge, points, label } = data.placed;
  const state = data.isFaded ? "faded" : edge.taken === true ? "taken" : "";
  return (
    <>
      <BaseEdge
        path={pathOf(points)}
        markerEnd={`url(#${state === "taken" ? "arrow-taken" : "arrow"})`}
        className={`line ${edge.kind} ${state}`}
        interactionWidth={0}
      />
      {label !== null && edge.label !== null && (
        <EdgeLabelRenderer>
          <div
            className={`line-label mono ${state}`}
            title={edge.label}
            style={{ transform: `translate(-50%, -50%) translate(${label.x}px, ${label.y}px)` }}
          >
            {cut(edge.label, 24)}
          </div>
        </EdgeLabelRenderer>
      )}
    </>
  );
});
