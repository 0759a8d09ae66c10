/** The pages of a listing as one: a page ends anywhere, also between the aliases of a workflow. */

import type { Feature, Workspaces } from "../api/types";

export function joined(pages: readonly Workspaces[]): Workspaces["workspaces"] {
  const found = new Map<string, Map<string, Feature>>();
  for (const { business, features } of pages.flatMap((page) => page.workspaces)) {
    const known = found.get(business) ?? new Map<string, Feature>();
    found.set(business, known);
    for (const each of features) {
      const before = known.get(each.feature)?.aliases ?? [];
      known.set(each.feature, { ...each, aliases: [...before, ...each.aliases] });
    }
  }
  return [...found].map(([business, features]) => ({ business, features: [...features.values()] }));
}
