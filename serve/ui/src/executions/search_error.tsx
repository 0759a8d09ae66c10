/** A search that was refused: the word that was not understood, and what may have been meant. */

import type { JSX } from "react";
import { ApiError } from "../api/client";
import { ErrorNote } from "../parts/controls";
import { StatusIcon } from "../parts/status";
import { t } from "../words";
import { SEARCH_KEYS, unknownWord } from "./search";
import { useFlows } from "./search_box";

export function SearchError({
  error,
  text,
  onSearch,
  onRetry,
}: {
  error: unknown;
  text: string;
  onSearch: (text: string) => void;
  onRetry: () => void;
}): JSX.Element {
  const isRefused = error instanceof ApiError && error.status === 400;
  const flows = useFlows(isRefused);
  const unknown = isRefused ? unknownWord(text, flows) : null;
  if (unknown === null) return <ErrorNote error={error} onRetry={onRetry} />;
  const { word, field, isField, meant } = unknown;
  return (
    <div className="note" role="alert">
      <StatusIcon status="failed" label={false} />
      <div className="grow">
        <div dir="auto">{t(isField ? "list.noField" : "list.noWorkspace", { field })}</div>
        <div className="muted">
          {t("list.fields")} <span className="mono">{SEARCH_KEYS.join(", ")}, context.…</span>
        </div>
      </div>
      {meant.map((each) => (
        <button
          type="button"
          key={each}
          className="button small"
          onClick={() => onSearch(text.replace(word, () => each))}
        >
          {t("list.meant")} <span className="mono">{each}</span>
        </button>
      ))}
    </div>
  );
}
