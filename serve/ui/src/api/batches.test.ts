import { expect, test } from "vitest";
import { Batches } from "./batches";

test("look-ups of one moment share requests of a bounded size", async () => {
  const sent: string[][] = [];
  const batches = new Batches<number>(2, async (ids) => {
    sent.push(ids);
    return Object.fromEntries(ids.filter((id) => id !== "?").map((id) => [id, id.length]));
  });
  const found = await Promise.all(["a", "bb", "?", "a"].map((id) => batches.get(id)));
  expect(found).toEqual([1, 2, undefined, 1]);
  expect(sent).toEqual([["a", "bb"], ["?"]]);
});

test("all that asked learn of a failure", async () => {
  const batches = new Batches<number>(9, () => Promise.reject(new Error("refused")));
  const asked = await Promise.allSettled([batches.get("a"), batches.get("b")]);
  expect(asked.map((each) => each.status)).toEqual(["rejected", "rejected"]);
});
