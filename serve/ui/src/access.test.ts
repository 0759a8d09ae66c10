/** A page offers what the role of a key allows, and nothing else. */

import { expect, test } from "vitest";
import { ALL, allows, ROLES, rightsOf } from "./access";

test("each role may do what those before it may, and nothing that comes after", () => {
  for (const [place, role] of ROLES.entries()) {
    const rights = { role, workspaces: [] };
    expect(ROLES.filter((each) => allows(rights, each))).toEqual(ROLES.slice(0, place + 1));
  }
});

test("a server without keys lets everybody do everything", () => {
  expect(rightsOf({})).toEqual(ALL);
});

test("a role of a later server may look only", () => {
  expect(rightsOf({ role: "auditor", workspaces: ["shop"] })).toEqual({
    role: "viewer",
    workspaces: ["shop"],
  });
});
