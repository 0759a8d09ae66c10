/** The marks of a ruler over time: round lengths of time, as many as have room. */

import { duration } from "../format";

const NICE = [1, 2, 5];
const UNITS = [1, 10, 100, 1000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 86_400_000];
/** Room for the word of a mark, which stands on its right. */
const WORD_PX = 64;
const MOST = 6;
const WIDTH_PX = 700;

/** A place on the ruler: in a span of seconds, parts of a second are told apart. */
export function tickWord(ms: number, lengthMs: number): string {
  if (ms < 10_000 || lengthMs > 6000) return duration(ms);
  return `${(ms / 1000).toFixed(lengthMs > 600 ? 1 : 2)} s`;
}

/** Round lengths of time, some five of them, the first one after so many milliseconds. */
export function ticks(lengthMs: number, afterMs = 0, widthPx = WIDTH_PX): number[] {
  const width = widthPx || WIDTH_PX;
  const most = Math.min(MOST, Math.max(1, Math.floor(width / WORD_PX)));
  const steps = UNITS.flatMap((unit) => NICE.map((each) => each * unit)).sort((a, b) => a - b);
  const step = steps.find((each) => lengthMs / each <= most) ?? lengthMs;
  const found: number[] = [];
  const first = Math.ceil(afterMs / step) * step;
  const last = afterMs + lengthMs * Math.max(0, 1 - WORD_PX / width);
  for (let ms = first; ms <= last; ms += step) found.push(ms);
  return found;
}
