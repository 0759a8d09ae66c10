import { expect, test } from "vitest";
import { joined } from "./pages";

const alias = (name: string) => ({ alias: name, definition_id: "d", created_ms: 1, updated_ms: 1 });

test("a workflow whose aliases are on two pages is shown once", () => {
  const page = (business: string, feature: string, ...names: string[]) => ({
    workspaces: [{ business, features: [{ feature, aliases: names.map(alias), gray: {} }] }],
    next: null,
  });
  const all = joined([
    page("bank", "pay", "a"),
    page("shop", "order", "a", "b"),
    page("shop", "order", "c"),
    page("shop", "refund", "a"),
  ]);
  const seen = all.map(({ business, features }) => [
    business,
    features.map(({ feature, aliases }) => [feature, aliases.map((each) => each.alias).join()]),
  ]);
  expect(seen).toEqual([
    ["bank", [["pay", "a"]]],
    [
      "shop",
      [
        ["order", "a,b,c"],
        ["refund", "a"],
      ],
    ],
  ]);
});
