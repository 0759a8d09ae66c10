import { expect, test } from "vitest";
import { completions, searchValue, statusesOf, toggled, withValue, wordAt } from "./search";

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
