import { expect, test } from "vitest";
import { formatAddress, keyOf, parseAddress } from "./address";

test("an address is read as it was written", () => {
  const parts = ["execution", "shop:order_c_1/2?#"];
  const params = { tab: "events", q: "flow:a since:1h", empty: "" };
  const hash = formatAddress(parts, params);
  expect(hash).not.toContain("empty");
  expect(parseAddress(hash)).toEqual({ parts, params: { tab: "events", q: "flow:a since:1h" } });
});

test("any text is an address", () => {
  expect(parseAddress("")).toEqual({ parts: [], params: {} });
  expect(parseAddress("#/%E0%A4%A/x?=&&q").parts).toEqual(["%E0%A4%A", "x"]);
});

test("an address offers a key or none", () => {
  expect(keyOf("#key=a%2Fb%3D")).toBe("a/b=");
  expect(keyOf("#key=%E0%A4%A")).toBe("%E0%A4%A");
  for (const hash of ["", "#", "#key=", "#/key=a", "#/executions?key=a"]) {
    expect(keyOf(hash)).toBeNull();
  }
});
