/** The axes of charts over time: where their lines are, and what stands at them. */

import { clock, day, duration } from "../format";
import { compact, locale } from "../words";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DECADES = [0, 1, 2, 3, 4, 5, 6, 7, 8];
/** Distances between the lines of counts: whole numbers. */
export const COUNT_STEPS = DECADES.flatMap((power) => [1, 2, 5].map((each) => each * 10 ** power));
/** Distances between the lines of lengths of time, in ms: those of a clock above a second. */
export const LENGTH_STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 20, 30].map((each) => each * SECOND),
  ...[1, 2, 5, 10, 20, 30].map((each) => each * MINUTE),
  ...[1, 2, 4, 8, 24, 48, 96, 240].map((each) => each * HOUR),
];
const CHARACTER_PX = 6.7;
const LEAST_PX = 44;

/** The clock time of a moment; at midnight the date, in the reader's zone and language. */
export function momentLabel(ms: number): string {
  const time = clock(ms, ms, locale()).slice(0, 5);
  return time === "00:00" ? day(ms, locale()) : time;
}

export function countLabel(value: number): string {
  return compact(value);
}

/** Told as all lengths of time are, without the tenths of whole seconds. */
export function lengthLabel(ms: number): string {
  return ms === 0 ? "0" : duration(ms).replace(".0 ", " ");
}

/** How wide an axis with these labels is, in pixels; axes of short labels are equally wide. */
export function axisWidth(labels: readonly string[] | null): number {
  const widest = Math.max(0, ...(labels ?? []).map(columns));
  return Math.max(LEAST_PX, Math.ceil(widest * CHARACTER_PX) + 8);
}

function columns(label: string): number {
  return [...label].reduce((sum, each) => sum + (each > "\u2e7f" ? 2 : 1), 0);
}
