/** The editor of a definition: its text, its graph, a dry run, and a playground. */

import "../styles/editor.css";
import { useQuery } from "@tanstack/react-query";
import { type JSX, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { formatAddress, goParams, useAddress } from "../address";
import { ask } from "../api/client";
import { useAnswer } from "../api/queries";
import type { Definition, DefinitionGraph, Draft, Problem } from "../api/types";
import { shortVersion } from "../format";
import { ErrorNote, Tabs } from "../parts/controls";
import { StatusIcon } from "../parts/status";
import { number, t } from "../words";
import { CodeEditor, type EditorHandle } from "./code_editor";
import { DraftGraph } from "./draft_graph_view";
import { DryRunView } from "./dry_run_view";
import { keepText, keptText } from "./kept_text";
import { Playground } from "./playground";
import { useDraft, useSettled } from "./queries";
import { SaveDialog } from "./save_dialog";
import type { Schema } from "./schema";
import { formatted, taskAt, tasksIn } from "./tasks";

const TABS = ["graph", "try", "play"] as const;

const FIRST = `workspace: examples
dagName: hello
type: flow
tasks:
  - name: greet
    category: function
    pattern: task_sync
    resourceName: http://127.0.0.1:8081/function/greet
    inputMappings:
      - { source: $.context.name, target: $.input.name }
    outputMappings:
      - { source: $.output.greeting, target: $.context.greeting }
`;

export default function EditorPage({ flow }: { flow: string | null }): JSX.Element {
  const { params } = useAddress();
  const version = params["version"];
  const id = version === undefined ? (flow ?? "") : `${flow}:md5_${version}`;
  // The text of a version is read once: what is written here must not be replaced by an answer.
  const found = useQuery<Definition>({
    queryKey: ["edited", id],
    queryFn: ({ signal }) => ask<Definition>("definition.json", { descriptor_id: id }, signal),
    enabled: flow !== null,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });
  if (flow === null) return <Editor first={FIRST} definition={null} />;
  if (found.data === undefined) {
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  return <Editor key={id} first={found.data.text} definition={found.data} />;
}

function Editor({
  first,
  definition,
}: {
  first: string;
  definition: Definition | null;
}): JSX.Element {
  const { params } = useAddress();
  const [saved, setSaved] = useState(first);
  const name = definition?.definition_id ?? "new";
  const [text, setText] = useKeptText(name, first, saved);
  const [isSaving, setSaving] = useState(false);
  const [task, setTask] = useState<string | null>(null);
  const editor = useRef<EditorHandle>(null);
  const settled = useSettled(text);
  const draft = useDraft(settled);
  const schema = useAnswer<Schema>("language.schema.json", {});
  const tasks = useMemo(() => tasksIn(settled), [settled]);
  const graph = useLastGraph(draft.data);
  const isChanged = text !== saved;
  useLeaveGuard(isChanged);
  const choose = useCallback(
    (name: string | null) => {
      setTask(name);
      const place = tasks.find((each) => each.name === name);
      if (place !== undefined) editor.current?.show(place.nameAt);
    },
    [tasks],
  );
  const tab = TABS.find((each) => each === params["tab"]) ?? "graph";
  return (
    <div className="editor">
      <Head
        definition={definition}
        draft={draft.data}
        isChanged={isChanged}
        isNew={definition === null}
        canSave={draft.data?.valid === true && settled === text}
        canFormat={draft.data?.valid === true}
        onDiscard={() => setText(saved)}
        onFormat={() => setText(formatted(text) ?? text)}
        onSave={() => setSaving(true)}
      />
      {draft.isError && <ErrorNote error={draft.error} onRetry={() => void draft.refetch()} />}
      <div className="editor-body">
        <section className="editor-text" aria-label={t("editor.text")}>
          <CodeEditor
            ref={editor}
            text={text}
            problems={draft.data?.problems ?? []}
            schema={schema.data ?? null}
            tasks={tasks}
            onChangeText={setText}
            onCursor={(position) => setTask(taskAt(tasks, position))}
            onSave={() => setSaving(true)}
          />
          <Problems
            draft={draft.data}
            onProblem={(problem) => editor.current?.show(offsetOf(text, problem), true)}
          />
        </section>
        <section className="editor-side">
          <Tabs
            label={t("editor.side")}
            chosen={tab}
            onChoose={(name) =>
              goParams({ tab: name === "graph" ? null : name }, { replace: true })
            }
            tabs={TABS.map((name) => ({ name, label: t(`editor.${name}`) }))}
          />
          <div className="side-body" role="tabpanel" aria-label={t(`editor.${tab}`)}>
            {tab === "graph" && (
              <DraftGraph
                graph={graph}
                task={task}
                text={text}
                onTask={choose}
                onEdits={(edits) => editor.current?.change(edits)}
              />
            )}
            <div hidden={tab !== "try"}>
              <DryRunView
                text={settled}
                isValid={draft.data?.valid === true}
                flow={flowOf(draft.data, definition)}
                task={task}
                onTask={choose}
              />
            </div>
            {tab === "play" && <EditorPlayground flow={flowOf(draft.data, definition)} />}
          </div>
        </section>
      </div>
      {isSaving && (
        <SaveDialog
          text={text}
          definition={definition}
          alias={params["alias"] ?? "release"}
          onClose={() => setSaving(false)}
          onSaved={() => {
            setSaved(text);
            keepText(name, null);
          }}
        />
      )}
    </div>
  );
}

function flowOf(draft: Draft | undefined, definition: Definition | null): string | null {
  if (draft?.business && draft.feature) return `${draft.business}:${draft.feature}`;
  return definition === null ? null : `${definition.business}:${definition.feature}`;
}

/** The graph of the last valid text, which stays while the text is not valid. */
function useLastGraph(draft: Draft | undefined): DefinitionGraph | null {
  const last = useRef<DefinitionGraph | null>(null);
  if (draft?.graph !== undefined) last.current = draft.graph;
  return last.current;
}

/** A text that outlives a look at another page: this tab keeps it until it is saved. */
function useKeptText(
  name: string,
  first: string,
  saved: string,
): readonly [string, (text: string) => void] {
  const [text, setText] = useState(() => keptText(name) ?? first);
  const settled = useSettled(text);
  useEffect(() => keepText(name, settled === saved ? null : settled), [name, settled, saved]);
  return [text, setText];
}

/** Ask before the page is left while something is not saved. */
function useLeaveGuard(isChanged: boolean): void {
  useEffect(() => {
    if (!isChanged) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [isChanged]);
}

function Head({
  definition,
  draft,
  isChanged,
  isNew,
  canSave,
  canFormat,
  onDiscard,
  onFormat,
  onSave,
}: {
  definition: Definition | null;
  draft: Draft | undefined;
  isChanged: boolean;
  isNew: boolean;
  canSave: boolean;
  canFormat: boolean;
  onDiscard: () => void;
  onFormat: () => void;
  onSave: () => void;
}): JSX.Element {
  const flow = flowOf(draft, definition);
  const [business = "", feature = ""] = (flow ?? "").split(":");
  return (
    <header className="one-title">
      <h1 dir="auto">
        {flow === null ? (
          t("editor.new")
        ) : (
          <>
            <span className="muted">
              {isNew ? business : <a href={formatAddress(["workflows", flow])}>{business}</a>}
            </span>{" "}
            <bdi>{feature}</bdi>
          </>
        )}
      </h1>
      {definition !== null && (
        <span className="muted mono">{shortVersion(definition.definition_id)}</span>
      )}
      <span className="muted" role="status">
        {isChanged ? t("editor.changed") : ""}
      </span>
      <div className="grow" />
      <div className="row">
        {isChanged && (
          <button type="button" className="button quiet small" onClick={onDiscard}>
            {t("editor.discard")}
          </button>
        )}
        <button type="button" className="button small" disabled={!canFormat} onClick={onFormat}>
          {t("editor.format")}
        </button>
        <button
          type="button"
          className="button primary small"
          disabled={!canSave || !(isChanged || isNew)}
          onClick={onSave}
        >
          {t("editor.save")}
        </button>
      </div>
    </header>
  );
}

function offsetOf(text: string, problem: Problem): number {
  const lines = text.split("\n");
  const before = lines.slice(0, Math.max(problem.line - 1, 0));
  return before.reduce((sum, line) => sum + line.length + 1, 0) + Math.max(problem.column - 1, 0);
}

function Problems({
  draft,
  onProblem,
}: {
  draft: Draft | undefined;
  onProblem: (problem: Problem) => void;
}): JSX.Element {
  const problems = draft?.problems ?? [];
  return (
    <div className="problems" role="region" aria-label={t("editor.problems")} tabIndex={0}>
      {draft !== undefined && problems.length === 0 && (
        <p className="row muted">
          <StatusIcon status="succeeded" label={false} />
          {t("editor.noProblems")}
        </p>
      )}
      <ul>
        {problems.map((problem) => (
          <li key={`${problem.line}:${problem.column}:${problem.code}:${problem.message}`}>
            <button type="button" className="problem" onClick={() => onProblem(problem)}>
              <StatusIcon status={problem.severity === "error" ? "failed" : "held"} label={false} />
              <span className="muted num">{problem.line > 0 ? problem.line : ""}</span>
              <span className="grow" dir="auto">
                <span className="unseen">{t(`editor.${problem.severity}`)}: </span>
                {problem.message}
                {problem.hint !== "" && <span className="muted"> {problem.hint}</span>}
              </span>
            </button>
          </li>
        ))}
      </ul>
      {(draft?.more_problems ?? 0) > 0 && (
        <p className="muted">{t("one.more", { n: number(draft?.more_problems ?? 0) })}</p>
      )}
    </div>
  );
}

function EditorPlayground({ flow }: { flow: string | null }): JSX.Element {
  const { params } = useAddress();
  return (
    <Playground
      flow={flow}
      execution={params["execution"] ?? null}
      event={null}
      task={null}
      onExecution={(id) => goParams({ execution: id }, { replace: true })}
    />
  );
}
