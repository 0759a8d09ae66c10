import { expect, test } from "vitest";
import {
  completions,
  hasContext,
  searchValue,
  statusesOf,
  toggled,
  unknownWord,
  withValue,
  wordAt,
  wordsOf,
} from "./search";

const FLOWS = ["shop", "shop:order", "media", "media:textToVideo"];

test("a value is set where it stands, and else at the end", () => {
  expect(withValue("status:failed flow:a", "status", "held")).toBe("status:held flow:a");
  expect(withValue("flow:a", "since", "1h")).toBe("flow:a since:1h");
  expect(withValue("since:1h  flow:a", "since", null)).toBe("flow:a");
  expect(searchValue("since:2026-11-27T10:00:00Z", "since")).toBe("2026-11-27T10:00:00Z");
});

test("a status is toggled beside the others", () => {
  expect(toggled("", "failed")).toBe("status:failed");
  expect(toggled("status:failed flow:a", "held")).toBe("status:failed,held flow:a");
  expect(toggled("status:failed,held", "failed")).toBe("status:held");
  expect(toggled("status:failed", "failed")).toBe("");
  expect(statusesOf("flow:a")).toEqual([]);
});

test("the word at the cursor is completed", () => {
  expect(wordAt("status:failed fl since:1h", 16)).toEqual({ word: "fl", from: 14, to: 16 });
  expect(wordAt("abc", 1)).toEqual({ word: "abc", from: 0, to: 3 });
  expect(wordAt("", 0)).toEqual({ word: "", from: 0, to: 0 });
});

test("keys, statuses, workflows and spans of time are offered", () => {
  expect(completions("", FLOWS)).toContain("status:");
  expect(completions("st", FLOWS)).toEqual(["status:"]);
  expect(completions("status:fa", FLOWS)).toEqual(["status:failed"]);
  expect(completions("status:failed,", FLOWS)).not.toContain("status:failed,failed");
  expect(completions("flow:order", FLOWS)).toEqual(["flow:shop:order"]);
  expect(completions("video", FLOWS)).toEqual(["flow:media:textToVideo"]);
  expect(completions("since:1", FLOWS)[0]).toBe("since:15m");
  expect(completions("nothing:x", FLOWS)).toEqual([]);
});

test("between quotation marks a space ends no word", () => {
  const text = 'status:failed  context.user:"Bob  Smith" flow:a:b';
  expect(wordsOf(text)).toEqual(["status:failed", 'context.user:"Bob  Smith"', "flow:a:b"]);
  expect(withValue(text, "status", null)).toBe('context.user:"Bob  Smith" flow:a:b');
  expect(wordsOf('context.user:"Bob')).toEqual(['context.user:"Bob']);
  expect(hasContext(text)).toBe(true);
  expect(hasContext("flow:context.a")).toBe(false);
});

test("the search keys of a workflow are offered as keys", () => {
  expect(completions("con", [], ["user", "order.id"])).toEqual([
    "context.user:",
    "context.order.id:",
  ]);
});

test("a word that is neither a field nor a workflow is told, with what may have been meant", () => {
  expect(unknownWord("status:failed foo:bar", FLOWS)).toEqual({
    word: "foo:bar",
    field: "foo",
    isField: true,
    meant: ["flow:bar", "context.foo:bar"],
  });
  expect(unknownWord("statsu:failed", FLOWS)?.meant).toContain("status:failed");
  expect(unknownWord("shpo:order", FLOWS)?.meant).toContain("shop:order");
  expect(unknownWord("medja", FLOWS)).toMatchObject({ isField: false, meant: ["media"] });
  expect(unknownWord("why?:", FLOWS)?.meant).toEqual([]);
  const fine = 'shop:order media status:failed context.user:"Bob Smith"';
  expect(unknownWord(`${fine} 8f0f9c00-0000-11f0-8000-000000000000`, FLOWS)).toBeNull();
});
