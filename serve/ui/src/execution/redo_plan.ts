/** What runs again when a task does: the task of the top level, and what has started after it. */

import type { Graph, GraphNode } from "../api/types";

export interface RedoPlan {
  /** The task of the top level, which runs again with all that is inside it. */
  readonly top: GraphNode;
  /** The tasks after it that have started, in the order of the definition. */
  readonly after: readonly GraphNode[];
}

/** The task of the top level in which an instance is: `filming` of `filming_0-voice`. */
export function topOf(instance: string): string {
  return instance.split("_")[0] ?? instance;
}

/**
 * What a redo from an instance runs again; null where it has not started, so that nothing would.
 *
 * @param graph The top level of the execution as it is now.
 */
export function redoPlan(graph: Graph, instance: string): RedoPlan | null {
  const top = graph.nodes.find((node) => node.name === topOf(instance));
  if (top === undefined || top.status === "not_started") return null;
  const next = new Map<string, string[]>();
  for (const { from, to } of graph.edges ?? []) next.set(from, [...(next.get(from) ?? []), to]);
  const seen = new Set([top.name]);
  const open = [top.name];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    for (const to of next.get(name) ?? []) {
      if (seen.has(to)) continue;
      seen.add(to);
      open.push(to);
    }
  }
  seen.delete(top.name);
  const after = graph.nodes.filter((node) => seen.has(node.name) && node.status !== "not_started");
  return { top, after };
}
