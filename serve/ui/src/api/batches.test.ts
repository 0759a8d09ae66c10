import { expect, test, vi } from "vitest";
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

test("look-ups that follow a request are collected for a while", async () => {
  vi.useFakeTimers();
  const sent: string[][] = [];
  const load = async (ids: string[]) => {
    sent.push(ids);
    return {};
  };
  const batches = new Batches<number>(9, load, 100);
  void batches.get("a");
  vi.advanceTimersByTime(0);
  expect(sent).toEqual([["a"]]);
  for (const id of ["b", "c"]) {
    void batches.get(id);
    vi.advanceTimersByTime(40);
  }
  expect(sent.length).toBe(1);
  vi.advanceTimersByTime(20);
  expect(sent).toEqual([["a"], ["b", "c"]]);
  vi.advanceTimersByTime(1000);
  void batches.get("d");
  vi.advanceTimersByTime(0);
  expect(sent.at(-1)).toEqual(["d"]);
  vi.useRealTimers();
});

test("all that asked learn of a failure", async () => {
  const batches = new Batches<number>(9, () => Promise.reject(new Error("refused")));
  const asked = await Promise.allSettled([batches.get("a"), batches.get("b")]);
  expect(asked.map((each) => each.status)).toEqual(["rejected", "rejected"]);
});
