/** Which items of groups are open, as the address lists their routes. */

import { goParams } from "../address";
import { groupOf } from "./graph/layout";

export function opened(text: string | undefined): string[] {
  return (text ?? "").split(",").filter((route) => route !== "");
}

/** Open an item in place of the one that is open in the same group, or close it. */
export function toggledItems(open: readonly string[], route: string): string[] {
  const group = groupOf(route);
  const closed = open.filter((each) => groupOf(each) === group);
  const others = open.filter(
    (each) => !closed.some((outer) => each === outer || each.startsWith(`${outer}-`)),
  );
  return open.includes(route) ? others : [...others, route];
}

/** Open or close an item on the page. */
export function toggleItem(route: string): void {
  const params = new URLSearchParams(location.hash.split("?")[1] ?? "");
  goParams({ open: toggledItems(opened(params.get("open") ?? ""), route).join(",") });
}
