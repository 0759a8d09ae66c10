/** Choosing the workspace whose executions are listed, where there are several. */

import { useQuery } from "@tanstack/react-query";
import type { JSX } from "react";
import { send } from "../api/client";
import { t } from "../words";
import { searchValue, withValue } from "./search";

export function WorkspaceChoice({
  text,
  onSearch,
}: {
  text: string;
  onSearch: (text: string) => void;
}): JSX.Element | null {
  const found = useQuery({
    queryKey: ["workspaces"],
    queryFn: ({ signal }) =>
      send<{ business_ids: string[] }>(
        "GET",
        "flow/bg/manage/descriptor/get_business.json",
        undefined,
        signal,
      ),
    staleTime: 60_000,
  });
  const names = found.data?.business_ids ?? [];
  if (names.length < 2) return null;
  const flow = searchValue(text, "flow") ?? "";
  const [chosen = ""] = flow.split(":");
  return (
    <select
      className="field"
      aria-label={t("list.workspace")}
      value={names.includes(chosen) ? chosen : ""}
      onChange={(event) => onSearch(withValue(text, "flow", event.target.value))}
    >
      <option value="">{t("list.workspace.all")}</option>
      {names.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}
