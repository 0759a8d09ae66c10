/** Deeds on a whole search are bounded and told; saved views survive anything that is stored. */

import { expect, test } from "vitest";
import type { Row, RowPage } from "../api/types";
import { collect, forAll } from "./found";
import { MOST_VIEWS, viewsOf, withView } from "./views";

function page(ids: string[], status: Row["status"], next: string | null): RowPage {
  const rows = ids.map((execution_id) => ({ execution_id, status }) as Row);
  return { rows, next, searched_to_ms: null, at_ms: 0, unread: 0 } as RowPage;
}

const PAGES: Record<string, RowPage> = {
  "": page(["a", "b"], "failed", "1"),
  "1": page(["c"], "unfinished", "2"),
  "2": page(["d"], "failed", null),
};

test("a search is collected over its pages, without what a deed does not concern", async () => {
  const ask = async (cursor: string | null) => PAGES[cursor ?? ""] as RowPage;
  const redo = await collect("redo", ask, () => true);
  expect(redo).toEqual({ ids: ["a", "b", "d"], isWhole: true });
  expect((await collect("cancel", ask, () => true)).ids).toEqual(["c"]);
  expect(await collect("redo", ask, () => true, 1)).toEqual({ ids: ["a"], isWhole: false });
  expect(await collect("redo", ask, () => false)).toEqual({ ids: ["a", "b"], isWhole: false });
});

test("many are done a few at a time, failures are kept, and a stop is heard", async () => {
  let underWay = 0;
  let most = 0;
  const act = async (id: string) => {
    underWay += 1;
    most = Math.max(most, underWay);
    await Promise.resolve();
    underWay -= 1;
    if (id === "3") throw new Error("no");
  };
  const ids = Array.from({ length: 20 }, (_, index) => String(index));
  const told: number[] = [];
  expect(
    await forAll(
      ids,
      act,
      (done) => told.push(done),
      () => true,
    ),
  ).toEqual(["no"]);
  expect([most, told.length]).toEqual([4, 20]);
  let left = 5;
  const some: string[] = [];
  await forAll(
    ids,
    async (id) => some.push(id),
    () => undefined,
    () => left-- > 0,
  );
  expect(some).toHaveLength(5);
});

test("views are kept by name, and bounded", () => {
  expect(viewsOf(null)).toEqual([]);
  expect(viewsOf("{broken")).toEqual([]);
  expect(viewsOf('[1, null, {"name": "a"}, {"name": "b", "text": "c"}]')).toEqual([
    { name: "b", text: "c" },
  ]);
  expect(withView([{ name: "a", text: "x" }], " a ", "y")).toEqual([{ name: "a", text: "y" }]);
  expect(withView([], " ", "y")).toEqual([]);
  let views = withView([], "first", "");
  for (let each = 0; each < MOST_VIEWS; each += 1) views = withView(views, `v${each}`, "");
  expect(views).toHaveLength(MOST_VIEWS);
  expect(views[0]?.name).toBe("v0");
});
