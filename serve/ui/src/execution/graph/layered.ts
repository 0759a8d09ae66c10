/** A layout for large graphs, in time that grows with their size: dagre takes minutes for them. */

import type { Point } from "./layout";

export interface Box {
  readonly name: string;
  readonly width: number;
  readonly height: number;
}

export interface Arrow {
  readonly from: string;
  readonly to: string;
}

export interface Ranked {
  readonly at: ReadonlyMap<string, Point>;
  /** For each arrow its ends and the middle of the gap in which it crosses over. */
  readonly lines: readonly (readonly Point[])[];
  readonly width: number;
  readonly height: number;
}

const SWEEPS = 6;

/** Place boxes in ranks below each other, each box below all those that lead to it. */
export function layered(
  boxes: readonly Box[],
  arrows: readonly Arrow[],
  { rankGap, boxGap }: { rankGap: number; boxGap: number },
): Ranked {
  const rank = ranksOf(boxes, arrows);
  const ranks = ordered(boxes, arrows, rank);
  const widths = ranks.map((each) => each.reduce((sum, box) => sum + box.width + boxGap, -boxGap));
  const width = Math.max(0, ...widths);
  const at = new Map<string, Point>();
  const gaps: number[] = [];
  let top = 0;
  ranks.forEach((boxesOfRank, index) => {
    const height = Math.max(0, ...boxesOfRank.map((box) => box.height));
    let x = (width - (widths[index] ?? 0)) / 2;
    for (const box of boxesOfRank) {
      at.set(box.name, { x: x + box.width / 2, y: top + height / 2 });
      x += box.width + boxGap;
    }
    top += height + rankGap;
    gaps.push(top - rankGap / 2);
  });
  const lines = arrows.map(({ from, to }) => {
    const [start, end] = [at.get(from), at.get(to)];
    if (start === undefined || end === undefined) return [];
    return [start, { x: end.x, y: gaps[rank.get(from) ?? 0] ?? start.y }, end];
  });
  return { at, lines, width, height: Math.max(0, top - rankGap) };
}

/** The length of the longest way to each box; ways in a circle count once. */
function ranksOf(boxes: readonly Box[], arrows: readonly Arrow[]): Map<string, number> {
  const open = new Map(boxes.map((box) => [box.name, 0]));
  for (const { to } of arrows) open.set(to, (open.get(to) ?? 0) + 1);
  const after = Map.groupBy(arrows, (arrow) => arrow.from);
  const rank = new Map(boxes.map((box) => [box.name, 0]));
  const ready = boxes.filter((box) => open.get(box.name) === 0).map((box) => box.name);
  for (const name of ready) {
    for (const { to } of after.get(name) ?? []) {
      rank.set(to, Math.max(rank.get(to) ?? 0, (rank.get(name) ?? 0) + 1));
      const left = (open.get(to) ?? 0) - 1;
      open.set(to, left);
      if (left === 0) ready.push(to);
    }
  }
  return rank;
}

/** Order the boxes of each rank by the middle of those that they are linked to. */
function ordered(
  boxes: readonly Box[],
  arrows: readonly Arrow[],
  rank: ReadonlyMap<string, number>,
): Box[][] {
  const ranks: Box[][] = [];
  for (const box of boxes) {
    const index = rank.get(box.name) ?? 0;
    while (ranks.length <= index) ranks.push([]);
    ranks[index]?.push(box);
  }
  const before = Map.groupBy(arrows, (arrow) => arrow.to);
  const after = Map.groupBy(arrows, (arrow) => arrow.from);
  const place = new Map<string, number>();
  const note = (some: Box[]) => {
    for (const [index, box] of some.entries()) place.set(box.name, (index + 0.5) / some.length);
  };
  ranks.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isDown = sweep % 2 === 0;
    for (const some of isDown ? ranks : ranks.toReversed()) {
      const middle = new Map(
        some.map((box) => {
          const linked = isDown
            ? (before.get(box.name) ?? []).map((arrow) => arrow.from)
            : (after.get(box.name) ?? []).map((arrow) => arrow.to);
          const places = linked.map((name) => place.get(name) ?? 0);
          const sum = places.reduce((all, each) => all + each, 0);
          return [box.name, places.length === 0 ? (place.get(box.name) ?? 0) : sum / places.length];
        }),
      );
      some.sort((one, other) => (middle.get(one.name) ?? 0) - (middle.get(other.name) ?? 0));
      note(some);
    }
  }
  return ranks;
}
