/** A success rate is never told as better than it is. */

import { expect, test } from "vitest";
import { percent } from "./rates";

test.each([
  [1, "100 %"],
  [0, "0 %"],
  [0.99999, "99.9 %"],
  [0.989, "98 %"],
  [0.9951, "99.5 %"],
  [0.5, "50 %"],
  [0.00001, "0.1 %"],
])("%f is told as %s", (rate, told) => {
  expect(percent(rate)).toBe(told);
});
