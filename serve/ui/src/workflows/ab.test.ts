/** The A/B tables of a workflow are found in its definition. */

import { expect, test } from "vitest";
import { abKeysIn } from "./ab_view";

test("tables are found wherever a task names one, each once", () => {
  const text = 'resourceName: ab://greeter\n{"resourceName": "ab://a.b-c"}\n- ab://greeter';
  expect(abKeysIn(text)).toEqual(["greeter", "a.b-c"]);
});

test("a text without tables has none, and a huge one not too many", () => {
  expect(abKeysIn("http://tab://x grab://y")).toEqual([]);
  const many = Array.from({ length: 200 }, (_, at) => `ab://table${at}`).join("\n");
  expect(abKeysIn(many)).toHaveLength(50);
});
