/** Where the tasks of a graph stand: each group first, then the groups as nodes of their level. */

import dagre from "@dagrejs/dagre";
import type { Graph, GraphEdge, GraphNode } from "../../api/types";
import { type Box, layered } from "./layered";

export const TASK_PX = { width: 208, height: 52 } as const;
export const GROUP_PX = { width: 232, height: 88 } as const;
const PAD_PX = 16;
const HEAD_PX = GROUP_PX.height;
const RANK_GAP_PX = 44;
const NODE_GAP_PX = 28;
/** How large a level may be for dagre, whose time grows fast. */
const MOST_NODES = 200;
const PORT_PX = 16;
/** From the middle of a label to where its line may turn. */
const LABEL_PX = 16;

export type Direction = "TB" | "LR";

export interface Level {
  readonly graph: Graph;
  /** Items that are open, by the name of their group. */
  readonly open: ReadonlyMap<string, Level>;
}

export interface PlacedNode {
  readonly node: GraphNode;
  /** The name of the group in which it stands; null at the top. */
  readonly parent: string | null;
  /** Relative to the group in which it stands. */
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** How many groups are around it. */
  readonly depth: number;
  /** The route of its item that is open. */
  readonly openRoute: string | null;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlacedEdge {
  readonly id: string;
  readonly edge: GraphEdge;
  /** Corners of the line, in the coordinates of the whole graph. */
  readonly points: readonly Point[];
  readonly label: Point | null;
  readonly depth: number;
}

export interface Layout {
  readonly nodes: PlacedNode[];
  readonly edges: PlacedEdge[];
  readonly width: number;
  readonly height: number;
}

/** Bring what was answered for each route into levels, beginning with the top. */
export function levelsOf(answers: ReadonlyMap<string, Graph>): Level | null {
  const top = answers.get("");
  return top === undefined ? null : levelOf(top, answers);
}

function levelOf(graph: Graph, answers: ReadonlyMap<string, Graph>): Level {
  const open = new Map<string, Level>();
  for (const [route, inner] of answers) {
    const group = groupOf(route);
    if (route !== "" && graph.nodes.some((node) => node.name === group && node.group !== null)) {
      open.set(group, levelOf(inner, answers));
    }
  }
  return { graph, open };
}

/** The name of the group to which the item of a route belongs: `a_0-b_2` is an item of `a_0-b`. */
export function groupOf(route: string): string {
  return route.replace(/_\d+$/, "");
}

export function indexOf(route: string): number {
  return Number(/_(\d+)$/.exec(route)?.[1] ?? 0);
}

/** Lay a graph out in the direction in which it is read with less zooming. */
export function layoutIn(level: Level, width: number, height: number): Layout {
  const down = layout(level, "TB");
  const scaleOf = (one: Layout) => Math.min(1, width / one.width, height / one.height);
  if (scaleOf(down) >= 0.9) return down;
  const across = layout(level, "LR");
  return scaleOf(across) > scaleOf(down) * 1.15 ? across : down;
}

export function layout(level: Level, direction: Direction): Layout {
  const { graph, open } = level;
  const inner = new Map<string, Layout>();
  for (const [name, each] of open) inner.set(name, layout(each, direction));
  const boxes = graph.nodes.map((node) => ({
    name: node.name,
    ...sizeOf(node, inner.get(node.name)),
  }));
  const known = new Map(boxes.map((box) => [box.name, box]));
  const edges = (graph.edges ?? []).filter(({ from, to }) => known.has(from) && known.has(to));
  const isLarge = boxes.length > MOST_NODES || edges.length > 2 * MOST_NODES;
  const placed = isLarge ? placedQuickly(boxes, edges) : placedByDagre(boxes, edges, direction);
  const isAcross = direction === "LR" && !isLarge;
  const centre = (name: string): Box & Point => ({
    name,
    x: 0,
    y: 0,
    width: 0,
    height: 0,
    ...known.get(name),
    ...placed.at.get(name),
  });
  const ports = portsOf(edges, placed.points, centre, isAcross);
  const lines = edges.flatMap((edge, index): PlacedEdge[] => {
    const port = ports[index];
    if (port === undefined) return [];
    const points = placed.points[index] ?? [];
    const label = edge.label === null ? null : (placed.labels[index] ?? null);
    const id = `${graph.route}/${edge.from}>${edge.to}#${index}`;
    return [{ id, edge, points: corners(port, points, label, isAcross), label, depth: 0 }];
  });
  const nodes: PlacedNode[] = [];
  for (const node of graph.nodes) {
    const { x, y, width, height } = centre(node.name);
    const at = { x: x - width / 2, y: y - height / 2, width, height };
    const openRoute = open.get(node.name)?.graph.route ?? null;
    nodes.push({ node, parent: null, ...at, depth: 0, openRoute });
    const content = inner.get(node.name);
    if (content === undefined) continue;
    const dx = (width - content.width) / 2;
    nodes.push(...content.nodes.map((each) => within(each, node.name, dx, HEAD_PX)));
    lines.push(...content.edges.map((each) => moved(each, at.x + dx, at.y + HEAD_PX)));
  }
  return { nodes, edges: lines, width: placed.width, height: placed.height };
}

interface Placed {
  readonly at: ReadonlyMap<string, Point>;
  readonly points: readonly (readonly Point[])[];
  readonly labels: readonly (Point | null)[];
  readonly width: number;
  readonly height: number;
}

function placedByDagre(boxes: readonly Box[], edges: GraphEdge[], rankdir: Direction): Placed {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir, nodesep: NODE_GAP_PX, ranksep: RANK_GAP_PX });
  for (const { name, width, height } of boxes) graph.setNode(name, { width, height });
  edges.forEach((edge, index) => {
    graph.setEdge(edge.from, edge.to, labelSize(edge), String(index));
  });
  if (boxes.length > 0) dagre.layout(graph);
  const routed = edges.map((edge, index) =>
    graph.edge({ v: edge.from, w: edge.to, name: String(index) }),
  );
  const { width = 0, height = 0 } = graph.graph();
  return {
    at: new Map(boxes.map(({ name }) => [name, { x: graph.node(name).x, y: graph.node(name).y }])),
    points: routed.map((each) => each.points),
    labels: routed.map(({ x, y }) => (x === undefined || y === undefined ? null : { x, y })),
    width,
    height,
  };
}

function placedQuickly(boxes: readonly Box[], edges: readonly GraphEdge[]): Placed {
  const found = layered(boxes, edges, { rankGap: RANK_GAP_PX + 20, boxGap: NODE_GAP_PX });
  // There is no place that was kept free for a label.
  return { ...found, points: found.lines, labels: edges.map(() => null) };
}

function within(placed: PlacedNode, group: string, dx: number, dy: number): PlacedNode {
  const depth = placed.depth + 1;
  if (placed.parent !== null) return { ...placed, depth };
  return { ...placed, depth, parent: group, x: placed.x + dx, y: placed.y + dy };
}

function moved(line: PlacedEdge, dx: number, dy: number): PlacedEdge {
  const move = ({ x, y }: Point): Point => ({ x: x + dx, y: y + dy });
  return {
    ...line,
    depth: line.depth + 1,
    points: line.points.map(move),
    label: line.label && move(line.label),
  };
}

function sizeOf(node: GraphNode, inner: Layout | undefined): { width: number; height: number } {
  if (inner !== undefined) {
    return {
      width: Math.max(GROUP_PX.width, inner.width + 2 * PAD_PX),
      height: HEAD_PX + inner.height + PAD_PX,
    };
  }
  return node.group === null ? { ...TASK_PX } : { ...GROUP_PX };
}

function labelSize(edge: GraphEdge): { width?: number; height?: number; labelpos?: "c" } {
  if (edge.label === null) return {};
  return { width: Math.min(180, 16 + edge.label.length * 7), height: 20, labelpos: "c" };
}

/** Where lines leave and reach the nodes of a level: side by side, in the order of their ends. */
function portsOf(
  edges: readonly GraphEdge[],
  points: readonly (readonly Point[])[],
  centre: (name: string) => Box & Point,
  isAcross: boolean,
): Port[] {
  const ports: Port[] = edges.map(() => ({ start: { x: 0, y: 0 }, end: { x: 0, y: 0 } }));
  const near = (index: number, place: number) => {
    const point = points[index]?.at(place);
    return point === undefined ? 0 : isAcross ? point.y : point.x;
  };
  for (const side of ["start", "end"] as const) {
    const [end, place] = side === "start" ? [1, 1] : [-1, -2];
    const nameOf = (edge: GraphEdge) => (side === "start" ? edge.from : edge.to);
    for (const [name, ends] of Map.groupBy(edges.entries(), ([, edge]) => nameOf(edge))) {
      const node = centre(name);
      const sorted = ends.toSorted(([one], [other]) => near(one, place) - near(other, place));
      const room = (isAcross ? node.height : node.width) - 2 * PORT_PX;
      const step = Math.min(PORT_PX, room / Math.max(1, sorted.length - 1));
      sorted.forEach(([index], position) => {
        const port = ports[index];
        if (port === undefined) return;
        const shift = (position - (sorted.length - 1) / 2) * step;
        port[side] = isAcross
          ? { x: node.x + (end * node.width) / 2, y: node.y + shift }
          : { x: node.x + shift, y: node.y + (end * node.height) / 2 };
      });
    }
  }
  return ports;
}

interface Port {
  start: Point;
  end: Point;
}

/**
 * The corners of a line without diagonal parts.
 *
 * @param points What dagre gives: the ends, and between them in turns a point for each gap between
 *   two ranks and one for each rank that the line passes. The line crosses over in the gaps, so it
 *   meets no node.
 * @param label Where its label stands, in one of the gaps; the line goes straight through it.
 */
export function corners(
  { start, end }: Readonly<Port>,
  points: readonly Point[],
  label: Point | null,
  isAcross: boolean,
): Point[] {
  const along = (point: Point) => (isAcross ? point.x : point.y);
  const beside = (point: Point) => (isAcross ? point.y : point.x);
  const found: Point[] = [start];
  let side = beside(start);
  const cross = (a: number, to: number) => {
    if (Math.abs(to - side) < 1) return;
    for (const b of [side, to]) found.push(isAcross ? { x: a, y: b } : { x: b, y: a });
    side = to;
  };
  for (let index = 1; index < points.length - 1; index += 2) {
    const gap = points[index];
    const next = index + 1 === points.length - 1 ? end : (points[index + 1] ?? end);
    if (gap === undefined) continue;
    const isLabel = label !== null && Math.hypot(gap.x - label.x, gap.y - label.y) < 1;
    if (isLabel) cross(along(gap) - LABEL_PX, beside(gap));
    cross(along(gap) + (isLabel ? LABEL_PX : 0), beside(next));
  }
  found.push(end);
  return found;
}

/** The path of a line whose corners are rounded. */
export function pathOf(points: readonly Point[], radius = 8): string {
  const parts: string[] = [];
  points.forEach((point, index) => {
    const before = points[index - 1];
    const after = points[index + 1];
    if (before === undefined) parts.push(`M${point.x} ${point.y}`);
    else if (after === undefined) parts.push(`L${point.x} ${point.y}`);
    else {
      const inward = toward(point, before, radius);
      const outward = toward(point, after, radius);
      parts.push(`L${inward.x} ${inward.y}Q${point.x} ${point.y} ${outward.x} ${outward.y}`);
    }
  });
  return parts.join("");
}

function toward(from: Point, to: Point, most: number): Point {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const part = length === 0 ? 0 : Math.min(most, length / 2) / length;
  return { x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part };
}

/** Whether a line may lead from one task to another: both are in the same item of a group. */
export function mayConnect(from: string, to: string): boolean {
  return from !== to && levelNameOf(from) === levelNameOf(to);
}

function levelNameOf(name: string): string {
  return name.slice(0, Math.max(name.lastIndexOf("-"), 0));
}

const EDGE_PX = 16;

/** How far something must move to lie within a width; what is wider shows its beginning. */
export function shiftInto(left: number, right: number, width: number): number {
  const by = Math.min(0, width - EDGE_PX - right);
  return left + by < EDGE_PX && (by < 0 || left < 0) ? EDGE_PX - left : by;
}
