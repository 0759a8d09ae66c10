/** A timeline is zoomed and moved within what there is. */

import { expect, test } from "vitest";
import { between, moved, placed, zoomed } from "./time_span";

const WHOLE = { from: 1000, end: 2000 };

test("a span becomes shorter around its middle, and the whole again", () => {
  const half = zoomed(WHOLE, WHOLE, 0.5);
  expect(half).toEqual({ from: 1250, end: 1750 });
  expect(half && zoomed(half, WHOLE, 2)).toBeNull();
});

test("a span has a least length", () => {
  expect(zoomed({ from: 1000, end: 1001 }, WHOLE, 0.5)).toEqual({ from: 1000, end: 1001 });
});

test("a span is not moved beyond the whole", () => {
  const last = { from: 1600, end: 2000 };
  expect(moved(last, WHOLE, 0.5)).toEqual(last);
  expect(moved(last, WHOLE, -0.5)).toEqual({ from: 1400, end: 1800 });
});

test("what is dragged over is shown, in whichever direction", () => {
  expect(between(WHOLE, 0.8, 0.2, WHOLE)).toEqual({ from: 1200, end: 1800 });
  expect(between(WHOLE, 0, 1, WHOLE)).toBeNull();
  expect(between({ from: 1200, end: 1800 }, 0.5, 0.75, WHOLE)).toEqual({ from: 1500, end: 1650 });
});

test("a segment is cut where the span ends, and absent outside of it", () => {
  const span = { from: 1200, end: 1600 };
  expect(placed({ from: 1000, end: 1300 }, span)).toEqual({ left: 0, width: 25 });
  expect(placed({ from: 1400, end: 1900 }, span)).toEqual({ left: 50, width: 50 });
  expect(placed({ from: 1000, end: 1100 }, span)).toBeNull();
  expect(placed({ from: 1700, end: 1800 }, span)).toBeNull();
});
