import { expect, test } from "vitest";
import { clock, cut, duration, exactTime, nearness, shortId, shortVersion, size } from "./format";

test.each([
  [-5, "0 s"],
  [0, "0 s"],
  [80.4, "80 ms"],
  [999, "999 ms"],
  [3_199, "3.1 s"],
  [9_999, "9.9 s"],
  [41_900, "41 s"],
  [60_000, "1 min"],
  [372_000, "6 min 12 s"],
  [3_600_000, "1 h"],
  [3_659_999, "1 h"],
  [90_061_000, "1 d 1 h"],
])("%d ms are %s", (ms, text) => {
  expect(duration(ms)).toBe(text);
});

test.each([
  [0, "now", ""],
  [9_999, "now", ""],
  [-1_999, "now", ""],
  [10_000, "ago", "10 s"],
  [59_999, "ago", "59 s"],
  [60_000, "ago", "1 min"],
  [3_599_999, "ago", "59 min"],
  [-4_001, "in", "5 s"],
  [-59_001, "in", "1 min"],
  [-61_000, "in", "2 min"],
  [-3_599_000, "in", "1 h"],
])("a time %d ms ago is told as %s %s", (ago, word, text) => {
  expect(nearness(7_200_000 - ago, 7_200_000)).toEqual([word, text]);
});

test.each([10_000, 23_999, 59_000])("%d ms ago agrees with a length of time", (ago) => {
  expect(nearness(7_200_000 - ago, 7_200_000)).toEqual(["ago", duration(ago)]);
});

test.each([3_600_000, -3_600_000, 86_400_000])("a time %d ms ago is told by the clock", (ago) => {
  expect(nearness(86_400_000 - ago, 86_400_000)).toBeNull();
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1_204, "1.2 KB"],
  [52_000, "52 KB"],
  [5_242_880, "5.2 MB"],
])("%d bytes are %s", (bytes, text) => {
  expect(size(bytes)).toBe(text);
});

test("ids and versions are told apart by their starts", () => {
  expect(shortId("shop:order_c_d7ea689e-cb3f-11f0-8000-000000000000")).toBe("d7ea689e");
  expect(shortVersion("shop:order:md5_0123456789abcdef")).toBe("0123456");
  expect(shortVersion(null)).toBe("");
});

test("a long text keeps its start and its end", () => {
  expect(cut("short", 10)).toBe("short");
  expect(cut("0123456789", 5)).toBe("01…89");
});

test.each(["en-GB", "zh-CN"])(
  "in %s a day begins at 00, and another day has its date",
  (locale) => {
    const at = new Date(2026, 0, 2, 0, 4, 31, 5).getTime();
    expect(clock(at, at + 60_000, locale)).toBe("00:04:31");
    expect(clock(at, at + 86_400_000, locale)).toMatch(/2.* 00:04$/);
    expect(exactTime(at, locale)).toMatch(/00:04:31[.,]005/);
  },
);
