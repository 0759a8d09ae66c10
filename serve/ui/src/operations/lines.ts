/** Lines of quantiles over time; where nothing was measured a line has a gap. */

import type { Minutes, Quantiles } from "../api/types";

export interface Point {
  readonly atMs: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

/** The points of a length of time from a moment on. */
export function pointsOf(minutes: Minutes, name: keyof Minutes["times"], fromMs: number): Point[] {
  const found: Quantiles = minutes.times[name];
  return minutes.minutes_ms
    .map((atMs, index) => ({
      atMs,
      p50: found.p50[index] ?? null,
      p99: found.p99[index] ?? null,
    }))
    .filter(({ atMs }) => atMs >= fromMs);
}

/** A stretch of a line without a gap; a dot is one of a single point. */
export interface Stretch {
  readonly path: string;
  readonly isDot: boolean;
}

/** The stretches of a line, from one gap to the next. */
export function stretchesOf(
  points: readonly Point[],
  name: "p50" | "p99",
  stepMs: number,
  x: (ms: number) => number,
  y: (value: number) => number,
): Stretch[] {
  const stretches: Stretch[] = [];
  let before: number | null = null;
  let stretch: string[] = [];
  const end = () => {
    const isDot = stretch.length === 1;
    if (isDot) stretch.push("h0"); // its round ends are seen
    if (stretch.length > 0) stretches.push({ path: stretch.join(""), isDot });
    stretch = [];
  };
  for (const point of points) {
    const value = point[name];
    if (value === null || (before !== null && point.atMs - before > 1.5 * stepMs)) end();
    before = value === null ? null : point.atMs;
    if (value === null) continue;
    const place = `${x(point.atMs).toFixed(1)} ${y(value).toFixed(1)}`;
    stretch.push(`${stretch.length === 0 ? "M" : "L"}${place}`);
  }
  end();
  return stretches;
}

/** Calls that have failed in each minute, of all hosts; and the hosts with the most. */
export function failedCalls(minutes: Minutes, fromMs: number) {
  const first = minutes.minutes_ms.findIndex((atMs) => atMs >= fromMs);
  const from = first < 0 ? minutes.minutes_ms.length : first;
  const hosts = Object.entries(minutes.call_failures)
    .map(([host, counts]) => ({ host, count: sum(counts.slice(from)) }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
  return { hosts, total: sum(hosts.map(({ count }) => count)) };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, each) => total + each, 0);
}
