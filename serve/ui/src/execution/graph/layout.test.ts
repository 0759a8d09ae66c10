import { expect, test } from "vitest";
import type { Graph, GraphEdge, GraphNode } from "../../api/types";
import { layered } from "./layered";
import {
  groupOf,
  indexOf,
  type Layout,
  type Level,
  layout,
  layoutIn,
  levelsOf,
  type Point,
  pathOf,
  shiftInto,
} from "./layout";

function node(name: string, isGroup = false): GraphNode {
  const group = isGroup ? { total: 3, started: 3, done: 1, counts: {}, strip: "srw" } : null;
  return { name, base: name, status: "running", group } as unknown as GraphNode;
}

function edge(from: string, to: string, label: string | null = null): GraphEdge {
  return { from, to, kind: "next", label, taken: null };
}

function graph(route: string, nodes: GraphNode[], edges: GraphEdge[]): Graph {
  return { route, parents: [], seq: 1, total: nodes.length, nodes, edges };
}

const TOP = graph(
  "",
  [node("a"), node("b"), node("c"), node("films", true), node("end")],
  [
    edge("a", "b", "x > 1"),
    edge("a", "c"),
    edge("b", "end"),
    edge("c", "films"),
    edge("films", "end"),
    edge("a", "end"),
  ],
);
const ITEM = graph(
  "films_1",
  [node("films_1-voice"), node("films_1-subs")],
  [edge("films_1-voice", "films_1-subs")],
);

function level(): Level {
  const found = levelsOf(
    new Map([
      ["", TOP],
      ["films_1", ITEM],
    ]),
  );
  if (found === null) throw new Error("no top level");
  return found;
}

function absolute({
  nodes,
}: Layout): Map<string, { x: number; y: number; right: number; bottom: number }> {
  const places = new Map<string, { x: number; y: number; right: number; bottom: number }>();
  for (const each of nodes) {
    const parent = each.parent === null ? { x: 0, y: 0 } : places.get(each.parent);
    const x = each.x + (parent?.x ?? 0);
    const y = each.y + (parent?.y ?? 0);
    places.set(each.node.name, { x, y, right: x + each.width, bottom: y + each.height });
  }
  return places;
}

const DIRECTIONS = ["TB", "LR"] as const;

test.each(DIRECTIONS)("an item that is open stands within its group (%s)", (direction) => {
  const places = absolute(layout(level(), direction));
  const group = places.get("films");
  for (const name of ["films_1-voice", "films_1-subs"]) {
    const inner = places.get(name);
    expect(inner?.x).toBeGreaterThan(group?.x ?? 0);
    expect(inner?.y).toBeGreaterThan(group?.y ?? 0);
    expect(inner?.right).toBeLessThan(group?.right ?? 0);
    expect(inner?.bottom).toBeLessThan(group?.bottom ?? 0);
  }
});

test.each(DIRECTIONS)(
  "no line is diagonal, and each touches both of its nodes (%s)",
  (direction) => {
    const found = layout(level(), direction);
    const places = absolute(found);
    expect(found.edges).toHaveLength(7);
    for (const { edge: drawn, points } of found.edges) {
      points.slice(1).forEach((point, index) => {
        const before = points[index] as Point;
        expect(Math.min(Math.abs(point.x - before.x), Math.abs(point.y - before.y))).toBeLessThan(
          0.01,
        );
      });
      const [from, to] = [places.get(drawn.from), places.get(drawn.to)];
      const [start, end] = [points[0] as Point, points.at(-1) as Point];
      const ends = direction === "TB" ? [start.y, end.y] : [start.x, end.x];
      const sides = direction === "TB" ? [from?.bottom, to?.y] : [from?.right, to?.x];
      ends.forEach((value, index) => {
        expect(value).toBeCloseTo(sides[index] ?? Number.NaN, 1);
      });
    }
  },
);

test.each(DIRECTIONS)(
  "no two nodes of a level overlap, and no line crosses a node (%s)",
  (direction) => {
    const found = layout(level(), direction);
    const places = absolute(found);
    const top = found.nodes.filter((each) => each.parent === null).map((each) => each.node.name);
    for (const one of top) {
      for (const other of top) {
        const [a, b] = [places.get(one), places.get(other)];
        if (one === other || a === undefined || b === undefined) continue;
        expect(a.right <= b.x || b.right <= a.x || a.bottom <= b.y || b.bottom <= a.y).toBe(true);
      }
    }
    for (const { edge: drawn, points, depth } of found.edges) {
      if (depth > 0) continue;
      points.slice(1).forEach((point, index) => {
        const before = points[index] as Point;
        for (const name of top.filter((each) => each !== drawn.from && each !== drawn.to)) {
          const box = places.get(name);
          if (box === undefined) continue;
          const isThrough =
            Math.max(point.x, before.x) > box.x &&
            Math.min(point.x, before.x) < box.right &&
            Math.max(point.y, before.y) > box.y &&
            Math.min(point.y, before.y) < box.bottom;
          expect(isThrough, `${drawn.from}>${drawn.to} through ${name}`).toBe(false);
        }
      });
    }
  },
);

test("the direction is the one in which a graph is read with less zooming", () => {
  const chain = Array.from({ length: 12 }, (_, index) => node(`t${index}`));
  const links = chain.slice(1).map((each, index) => edge(`t${index}`, each.name));
  const found = layoutIn({ graph: graph("", chain, links), open: new Map() }, 1600, 500);
  expect(found.width).toBeGreaterThan(found.height);
  expect(layoutIn(level(), 1600, 2000).height).toBeGreaterThan(0);
});

test("a graph of 1,000 tasks is laid out in time", () => {
  const nodes = Array.from({ length: 1000 }, (_, index) => node(`t${index}`));
  const edges = nodes
    .slice(1)
    .map((each, index) => edge(`t${(index * 7) % (index + 1)}`, each.name));
  const began = performance.now();
  const found = layout({ graph: graph("", nodes, edges), open: new Map() }, "TB");
  expect(performance.now() - began).toBeLessThan(2000);
  expect(found.nodes).toHaveLength(1000);
  expect(found.edges).toHaveLength(999);
});

test("a large graph with a circle has a layout too", () => {
  const boxes = ["a", "b", "c"].map((name) => ({ name, width: 10, height: 10 }));
  const arrows = [
    { from: "a", to: "b" },
    { from: "b", to: "c" },
    { from: "c", to: "b" },
  ];
  const found = layered(boxes, arrows, { rankGap: 10, boxGap: 10 });
  expect([...found.at.keys()].sort()).toEqual(["a", "b", "c"]);
});

test("a route names its group and its index", () => {
  expect(groupOf("a_0-b_12")).toBe("a_0-b");
  expect(indexOf("a_0-b_12")).toBe(12);
});

test("a path has rounded corners", () => {
  const points = [
    { x: 0, y: 0 },
    { x: 0, y: 20 },
    { x: 30, y: 20 },
  ];
  expect(pathOf(points)).toBe("M0 0L0 12Q0 20 8 20L30 20");
});

test.each([
  [100, 300, 800, 0],
  [700, 900, 800, -116],
  [-50, 150, 800, 66],
  [500, 2000, 800, -484],
  [0, 800, 800, 16],
])("what lies from %i to %i is moved into a width of %i by %i", (left, right, width, by) => {
  expect(shiftInto(left, right, width)).toBe(by);
});
