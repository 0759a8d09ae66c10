/** The graph of a definition in the form of an execution that has not started. */

import type { DefinitionGraph, DefinitionNode, Graph, GraphNode } from "../api/types";

const MOST_OPEN = 80;

/** The groups that are open at first: their first branch, while the graph stays readable. */
export function firstOpen(graph: DefinitionGraph): string[] {
  const routes: string[] = [];
  let room = MOST_OPEN - graph.nodes.length;
  const walk = (level: DefinitionGraph, route: string) => {
    for (const node of level.nodes) {
      const inner = node.branches?.[0]?.graph;
      if (inner === undefined || inner.nodes.length > room) continue;
      room -= inner.nodes.length;
      const opened = `${nameIn(route, node.name)}_0`;
      routes.push(opened);
      walk(inner, opened);
    }
  };
  walk(graph, "");
  return routes;
}

/** The levels of a definition by their routes: the top, and what is open. */
export function levelsOf(
  graph: DefinitionGraph,
  open: readonly string[],
  note: (node: DefinitionNode) => string,
): Map<string, Graph> {
  const levels = new Map<string, Graph>();
  const wanted = new Set(open);
  const walk = (level: DefinitionGraph, route: string) => {
    levels.set(route, levelOf(level, route, note));
    for (const node of level.nodes) {
      node.branches?.forEach((branch, index) => {
        const inner = `${nameIn(route, node.name)}_${index}`;
        if (wanted.has(inner)) walk(branch.graph, inner);
      });
    }
  };
  walk(graph, "");
  return levels;
}

function levelOf(
  level: DefinitionGraph,
  route: string,
  note: (node: DefinitionNode) => string,
): Graph {
  return {
    route,
    parents: [],
    seq: 0,
    total: level.nodes.length,
    nodes: level.nodes.map((node) => nodeOf(node, route, note)),
    edges: level.edges.map((edge) => ({
      ...edge,
      from: nameIn(route, edge.from),
      to: nameIn(route, edge.to),
      taken: null,
    })),
  };
}

function nodeOf(
  node: DefinitionNode,
  route: string,
  note: (node: DefinitionNode) => string,
): GraphNode {
  const branches = node.branches?.length ?? 0;
  return {
    name: nameIn(route, node.name),
    base: node.name,
    title: node.title,
    category: node.category,
    pattern: node.pattern,
    resource: node.resource,
    status: "not_started",
    attempts: 0,
    most_attempts: null,
    started_ms: null,
    ended_ms: null,
    message: null,
    idle_ms: 0,
    mapping_warnings: 0,
    sub_flow: null,
    wait: null,
    group:
      node.branches === undefined
        ? null
        : {
            total: branches,
            started: 0,
            done: 0,
            counts: {},
            strip: "n".repeat(Math.min(branches, 400)),
            branches: node.branches.map(({ condition }) => condition),
            note: note(node),
          },
  };
}

function nameIn(route: string, name: string): string {
  return route === "" ? name : `${route}-${name}`;
}

/** The name of a task in its definition: `a_0-b` is an instance of `b`. */
export function baseOf(name: string): string {
  return name.slice(name.lastIndexOf("-") + 1);
}
