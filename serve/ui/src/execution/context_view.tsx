/** The context of an execution or of an item of a group, in parts; and what an event changed. */

import { type JSX, useState } from "react";
import { goParams } from "../address";
import { useAnswer } from "../api/queries";
import type { ContextPart, Execution } from "../api/types";
import { ArtifactList } from "../artifacts/artifact_list";
import { artifactsIn } from "../artifacts/references";
import { size } from "../format";
import { CopyButton, ErrorNote } from "../parts/controls";
import { CutNote, type CutView, JsonView } from "../parts/json_view";
import { t } from "../words";
import { ChangeList } from "./change_list";
import { WritesView } from "./writes_view";

interface Shown {
  execution: Execution;
  event: number | null;
  open: readonly string[];
}

/** The context as it is, or what each task wrote into it. */
export function ContextView({
  task,
  isByTask,
  onTask,
  ...shown
}: Shown & {
  task: string | null;
  isByTask: boolean;
  onTask: (name: string | null) => void;
}): JSX.Element {
  const { execution, event } = shown;
  const views = [
    [false, "context.values"],
    [true, "context.writes"],
  ] as const;
  return (
    <div className="stack">
      <fieldset className="row choice" aria-label={t("context.view")}>
        {views.map(([view, label]) => (
          <button
            type="button"
            key={label}
            className="button small"
            aria-pressed={view === isByTask}
            onClick={() => goParams({ by: view ? "task" : null })}
          >
            {t(label)}
          </button>
        ))}
      </fieldset>
      {isByTask ? (
        <WritesView id={execution.execution_id} event={event} task={task} onTask={onTask} />
      ) : (
        <Values {...shown} />
      )}
    </div>
  );
}

function Values({ execution, event, open }: Shown): JSX.Element {
  const [chosen, setChosen] = useState("");
  const route = open.includes(chosen) ? chosen : "";
  const id = execution.execution_id;
  const found = useAnswer<ContextPart>("context.json", { execution_id: id, event, route });
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const { value, bytes } = found.data;
  const isEmpty = typeof value === "object" && value !== null && Object.keys(value).length === 0;
  const artifacts = artifactsIn(value);
  const part: CutView = (cut) => (
    <Part id={id} event={event} route={route} path={cut.path} note={<CutNote cut={cut} />} />
  );
  return (
    <div className="stack">
      <div className="row wrap">
        {open.length > 0 && (
          <select
            className="field"
            aria-label={t("graph.path")}
            value={route}
            onChange={(change) => setChosen(change.target.value)}
          >
            {["", ...open].map((each) => (
              <option key={each} value={each}>
                {each === "" ? execution.feature : each}
              </option>
            ))}
          </select>
        )}
        <span className="muted num">{t("context.size", { size: size(bytes) })}</span>
        <CopyButton text={JSON.stringify(value, null, 2)} />
      </div>
      {event !== null && (
        <>
          <h2>{t("context.changed", { seq: event })}</h2>
          <ChangeList id={id} seq={event} />
          <h2>{t("context.label")}</h2>
        </>
      )}
      {isEmpty ? (
        <p className="muted">{t("context.empty")}</p>
      ) : (
        <JsonView value={value} onCut={part} />
      )}
      {artifacts.length > 0 && (
        <>
          <h2>{t("inspector.artifacts")}</h2>
          <ArtifactList artifacts={artifacts} executionId={id} />
        </>
      )}
    </div>
  );
}

/** A part that was cut, fetched when it is asked for, and piece by piece. */
function Part({
  id,
  event,
  route,
  path,
  note,
}: {
  id: string;
  event: number | null;
  route: string;
  path: string;
  note: JSX.Element;
}): JSX.Element {
  const [offset, setOffset] = useState<number | null>(null);
  const found = useAnswer<ContextPart>(
    "context.json",
    { execution_id: id, event, route, path, offset },
    { enabled: offset !== null, keep: false },
  );
  const next = found.data?.next_offset ?? null;
  return (
    <>
      {found.data === undefined ? (
        note
      ) : (
        <JsonView
          value={found.data.value}
          onCut={(cut) => (
            <Part
              id={id}
              event={event}
              route={route}
              path={cut.path}
              note={<CutNote cut={cut} />}
            />
          )}
        />
      )}{" "}
      {found.isError && <ErrorNote error={found.error} />}
      {(offset === null || next !== null) && (
        <button type="button" className="button small" onClick={() => setOffset(next ?? 0)}>
          {t("context.show")}
        </button>
      )}
    </>
  );
}
