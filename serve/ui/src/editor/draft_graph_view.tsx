/** The graph of the text that is being written, and the palette that adds to it. */

import "../styles/execution.css";
import { type JSX, useCallback, useMemo, useState } from "react";
import type { DefinitionGraph, DefinitionNode } from "../api/types";
import { StillGraph } from "../execution/graph/graph_view";
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
  if (levels === null) return <p className="muted nothing">{t("editor.noGraph")}</p>;
  const names = [...levels.values()].flatMap((level) => level.nodes.map(({ name }) => name));
  const selected = names.find((name) => baseOf(name) === task) ?? null;
  return (
    <div className="draft-graph">
      <Palette task={task} text={text} names={[...new Set(names.map(baseOf))]} onEdits={onEdits} />
      <StillGraph
        answers={levels}
        task={selected}
        onTask={(name) => name !== null && onTask(baseOf(name))}
        onToggle={toggle}
      />
    </div>
  );
}

function noteOf(node: DefinitionNode): string {
  const branches = node.branches?.length ?? 0;
  return node.category === "foreach" ? t("editor.eachItem") : t("editor.branches", { n: branches });
}

/** Add a task after the one that is selected, or lead from it to another one. */
function Palette({
  task,
  text,
  names,
  onEdits,
}: {
  task: string | null;
  text: string;
  names: readonly string[];
  onEdits: (edits: readonly Edit[]) => void;
}): JSX.Element {
  const [isRefused, setRefused] = useState(false);
  const change = (edits: Edit[] | null) => {
    setRefused(edits === null);
    if (edits !== null) onEdits(edits);
  };
  const others = names.filter((name) => name !== task);
  return (
    <div className="palette row wrap">
      <label className="row">
        <Icon name="plus" />
        <select
          className="field"
          aria-label={t("editor.add")}
          value=""
          onChange={(event) => change(taskAdded(text, event.target.value, task))}
        >
          <option value="" disabled>
            {task === null ? t("editor.add") : t("editor.addAfter", { task })}
          </option>
          {CATEGORIES.map((category) => (
            <option key={category} value={category}>
              {category}
            </option>
          ))}
        </select>
      </label>
      {task !== null && others.length > 0 && (
        <select
          className="field"
          aria-label={t("editor.connect", { task })}
          value=""
          onChange={(event) => change(connected(text, task, event.target.value))}
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
      {isRefused && <span className="muted">{t("editor.noPlace")}</span>}
    </div>
  );
}
