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

/** The same points, with an empty one where minutes are missing, so that lines have a gap there. */
export function withGaps(points: readonly Point[], stepMs: number): Point[] {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    return before === undefined || point.atMs - before.atMs <= 1.5 * stepMs
      ? [point]
      : [{ atMs: before.atMs + stepMs, p50: null, p99: null }, point];
  });
}

/** The places of values with none before and after them: a line does not show them. */
export function lonely(values: readonly (number | null)[]): number[] {
  const isThere = (index: number) => (values[index] ?? null) !== null;
  return [...values.keys()].filter(
    (index) => isThere(index) && !isThere(index - 1) && !isThere(index + 1),
  );
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
