/** The graph of the text that is being written, and the palette that adds to it. */

import "../styles/execution.css";
import { type JSX, useCallback, useMemo, useState } from "react";
import type { DefinitionGraph, DefinitionNode } from "../api/types";
import { type Changing, DRAGGED, StillGraph } from "../execution/graph/graph_view";
import { groupOf } from "../execution/graph/layout";
import { Icon } from "../parts/icons";
import { t } from "../words";
import { baseOf, firstOpen, levelsOf } from "./draft_graph";
import { CATEGORIES, connected, type Edit, taskAdded } from "./tasks";

export function DraftGraph({
  graph,
  task,
  text,
  onTask,
  onEdits,
}: {
  graph: DefinitionGraph | null;
  task: string | null;
  text: string;
  onTask: (task: string | null) => void;
  onEdits: (edits: readonly Edit[]) => void;
}): JSX.Element {
  const [toggled, setToggled] = useState<ReadonlyMap<string, string | null>>(new Map());
  const levels = useMemo(() => {
    if (graph === null) return null;
    const open = firstOpen(graph).filter((route) => !toggled.has(groupOf(route)));
    const chosen = [...toggled.values()].filter((route) => route !== null);
    return levelsOf(graph, [...open, ...chosen], noteOf);
  }, [graph, toggled]);
  const toggle = useCallback(
    (route: string) => {
      setToggled((before) => {
        const isOpen = levels?.has(route) === true;
        return new Map(before).set(groupOf(route), isOpen ? null : route);
      });
    },
    [levels],
  );
  const [isRefused, setRefused] = useState(false);
  const change = (edits: Edit[] | null) => {
    setRefused(edits === null);
    if (edits !== null) onEdits(edits);
  };
  const changing: Changing = {
    onConnect: (from, to) => change(connected(text, baseOf(from), baseOf(to))),
    onDrop: (category, onto) =>
      change(taskAdded(text, category, onto === null ? null : baseOf(onto))),
  };
  if (levels === null) return <p className="muted nothing">{t("editor.noGraph")}</p>;
  const names = [...levels.values()].flatMap((level) => level.nodes.map(({ name }) => name));
  const selected = names.find((name) => baseOf(name) === task) ?? null;
  return (
    <div className="draft-graph">
      <Palette
        task={task}
        names={[...new Set(names.map(baseOf))]}
        isRefused={isRefused}
        onAdd={(category) => change(taskAdded(text, category, task))}
        onLead={(from, to) => change(connected(text, from, to))}
      />
      <StillGraph
        answers={levels}
        task={selected}
        onTask={(name) => name !== null && onTask(baseOf(name))}
        onToggle={toggle}
        changing={changing}
      />
    </div>
  );
}

function noteOf(node: DefinitionNode): string {
  const branches = node.branches?.length ?? 0;
  return node.category === "foreach" ? t("editor.eachItem") : t("editor.branches", { n: branches });
}

/** What can be added: by a click after the selected task, or dragged onto a task of the graph. */
function Palette({
  task,
  names,
  isRefused,
  onAdd,
  onLead,
}: {
  task: string | null;
  names: readonly string[];
  isRefused: boolean;
  onAdd: (category: string) => void;
  onLead: (from: string, to: string) => void;
}): JSX.Element {
  const others = names.filter((name) => name !== task);
  return (
    <div className="palette">
      <div className="row wrap" role="group" aria-label={t("editor.add")}>
        {CATEGORIES.map((category) => (
          <button
            key={category}
            type="button"
            className="button small chip"
            draggable
            title={task === null ? t("editor.addLast") : t("editor.addAfter", { task })}
            onClick={() => onAdd(category)}
            onDragStart={(event) => {
              event.dataTransfer.setData(DRAGGED, category);
              event.dataTransfer.effectAllowed = "copy";
            }}
          >
            <Icon name="plus" />
            {category}
          </button>
        ))}
      </div>
      <div className="row wrap lead">
        {task !== null && others.length > 0 && (
          <select
            className="field"
            aria-label={t("editor.connect", { task })}
            value=""
            onChange={(event) => onLead(task, event.target.value)}
          >
            <option value="" disabled>
              {t("editor.connect", { task })}
            </option>
            {others.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
        <span className="muted small" role="status">
          {t(isRefused ? "editor.noPlace" : "editor.drag")}
        </span>
      </div>
    </div>
  );
}
