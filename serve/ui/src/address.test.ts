import { expect, test } from "vitest";
import { formatAddress, parseAddress } from "./address";

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
