import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { setLanguage } from "../words";
import { reasonSentence } from "./reason";

const MISSING = { code: "missing", values: { place: "$.context.nmae" } };
const MEANT = { code: "did_you_mean", values: { meant: "name" } };
const SAID = "`$.context.nmae` does not exist; did you mean `name`?";

beforeAll(() => vi.stubGlobal("document", { documentElement: {} }));
afterAll(() => vi.unstubAllGlobals());

test("a reason is said in the language of the page", () => {
  expect(reasonSentence(SAID, [MISSING, MEANT])).toBe(SAID);
  setLanguage("zh");
  expect(reasonSentence(SAID, [MISSING, MEANT])).toBe("`$.context.nmae` 不存在；是否想写 `name`？");
  const below = { place: "$.a.b", way: "$.a", kind: "a text" };
  expect(reasonSentence("", [{ code: "missing_below", values: below }])).toBe(
    "`$.a.b` 不存在：`$.a` 是文本",
  );
  setLanguage("en");
});

test("what the page does not know stays as the server says it", () => {
  expect(
    reasonSentence("line 1: nope", [{ code: "other", values: { text: "line 1: nope" } }]),
  ).toBe("line 1: nope");
  expect(reasonSentence("a new reason", [{ code: "new", values: {} }])).toBe("a new reason");
  expect(reasonSentence("of an old server")).toBe("of an old server");
});
