/** Every language says everything that the pages ask for, and nothing else. */

import { expect, test } from "vitest";
import { en, type Key } from "./en";
import { filled, prefersChinese } from "./index";
import { zh } from "./zh";

const SOURCES = import.meta.glob<string>(["../**/*.{ts,tsx}", "!../**/*.test.ts", "!./*.ts"], {
  query: "?raw",
  import: "default",
  eager: true,
});
const TEXT = Object.values(SOURCES).join("\n");
/** Keys that are put together from parts. */
const COMPOSED = /`((?:[\w.]|\$\{[^}]+\})+)`/g;

function names(text: string): string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1] ?? "").sort();
}

test("every language has the same keys", () => {
  expect(Object.keys(zh)).toEqual(Object.keys(en));
});

test("no text is empty, and names of values are the same in every language", () => {
  for (const [key, text] of Object.entries(en)) {
    const other = zh[key as Key];
    expect(other, key).not.toBe("");
    for (const name of names(other)) expect(names(text), key).toContain(name);
  }
});

test("every key is used", () => {
  expect(Object.keys(SOURCES).length).toBeGreaterThan(20);
  const patterns = [...TEXT.matchAll(COMPOSED)]
    .map((found) => found[1] ?? "")
    .filter((text) => text.includes("${") && text.includes("."))
    .map((text) => new RegExp(`^${text.replaceAll(".", "\\.").replace(/\$\{[^}]+\}/g, "\\w+")}$`));
  const unused = Object.keys(en).filter(
    (key) => !TEXT.includes(`"${key}"`) && !patterns.some((pattern) => pattern.test(key)),
  );
  expect(unused).toEqual([]);
});

test("a value is put in its place, and an unknown name stays", () => {
  expect(filled("{a} of {b} and {c}", { a: 1, b: "$&" })).toBe("1 of $& and {c}");
});

test.each([
  [["zh-CN", "en"], true],
  [["en-GB", "zh"], false],
  [["fr", "zh-TW", "en"], true],
  [["de"], false],
  [[], false],
])("of %j the first that is known decides", (languages, isChinese) => {
  expect(prefersChinese(languages)).toBe(isChinese);
});
