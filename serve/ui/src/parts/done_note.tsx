/** What was done, and the way back or to what came of it. */

import { useQueryClient } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { t } from "../words";
import { ErrorNote, IconButton } from "./controls";

export interface Done {
  readonly text: string;
  /** What came of it: addresses of the console, and their words. */
  readonly links?: readonly (readonly [string, string])[];
  /** Takes it back, and returns what was done then. */
  readonly undo?: () => Promise<Done>;
}

export function DoneNote({
  done,
  onDone,
}: {
  done: Done;
  /** Told what was done instead; null if a person wants to read no more of it. */
  onDone: (done: Done | null) => void;
}): JSX.Element {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const { undo } = done;
  const takeBack = async () => {
    setBusy(true);
    setError(null);
    try {
      if (undo !== undefined) onDone(await undo());
      void client.invalidateQueries();
    } catch (caught) {
      setError(caught);
    }
    setBusy(false);
  };
  return (
    <div className="stack">
      <div className="note done" role="status">
        <span className="grow" dir="auto">
          {done.text}{" "}
          {done.links?.map(([address, words]) => (
            <a key={address} href={address}>
              {words}
            </a>
          ))}
        </span>
        {undo !== undefined && (
          <button
            type="button"
            className="button small"
            disabled={isBusy}
            onClick={() => void takeBack()}
          >
            {t("action.undo")}
          </button>
        )}
        <IconButton icon="close" label={t("action.close")} onClick={() => onDone(null)} />
      </div>
      {error !== null && <ErrorNote error={error} />}
    </div>
  );
}
