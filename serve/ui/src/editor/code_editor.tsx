/**
 * The text of a definition, in CodeMirror.
 *
 * It stands in a shadow root: there its styles are sheets that the script adopts, so the policy of
 * the page need not allow styles that stand in the page.
 */

import { acceptCompletion, autocompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { searchKeymap } from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  hoverTooltip,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { type JSX, useEffect, useImperativeHandle, useRef } from "react";
import type { Problem } from "../api/types";
import { t } from "../words";
import { completionsOf, meaningsOf } from "./assistance";
import { colours, look } from "./look";
import type { Schema } from "./schema";
import type { Edit, TaskPlace } from "./tasks";

export interface EditorHandle {
  /** Put the cursor at a place, and show it. */
  show(position: number, isFocused?: boolean): void;
  /** Change parts of the text, in one step that can be undone. */
  change(edits: readonly Edit[]): void;
}

interface Shown {
  text: string;
  problems: readonly Problem[];
  schema: Schema | null;
  tasks: readonly TaskPlace[];
  onChangeText: (text: string) => void;
  onCursor: (position: number) => void;
  onSave: () => void;
  ref: React.Ref<EditorHandle>;
}

export function CodeEditor(props: Shown): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  // The editor stays while the page is drawn anew, and asks for the newest of these.
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    if (host.current === null) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    const made = new EditorView({
      root,
      parent: root,
      state: EditorState.create({ doc: latest.current.text, extensions: extensions(latest) }),
    });
    view.current = made;
    return () => made.destroy();
  }, []);
  useEffect(() => {
    const shown = view.current;
    if (shown === null || shown.state.doc.toString() === props.text) return;
    shown.dispatch({ changes: { from: 0, to: shown.state.doc.length, insert: props.text } });
  }, [props.text]);
  useEffect(() => {
    const shown = view.current;
    if (shown === null) return;
    shown.dispatch(setDiagnostics(shown.state, diagnostics(shown.state, props.problems)));
  }, [props.problems]);
  useImperativeHandle(
    props.ref,
    () => ({
      show: (position, isFocused = false) => show(view.current, position, isFocused),
      change: (edits) => view.current?.dispatch({ changes: [...edits], scrollIntoView: true }),
    }),
    [],
  );
  return <div className="code-editor" ref={host} />;
}

function show(view: EditorView | null, position: number, isFocused: boolean): void {
  if (view === null) return;
  const at = Math.min(position, view.state.doc.length);
  view.dispatch({
    selection: { anchor: at },
    effects: EditorView.scrollIntoView(at, { y: "center" }),
  });
  if (isFocused) view.focus();
}

function extensions(latest: { readonly current: Shown }): Extension[] {
  return [
    lineNumbers(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    history(),
    drawSelection(),
    indentOnInput(),
    bracketMatching(),
    yaml(),
    syntaxHighlighting(colours),
    lintGutter(),
    autocompletion({ override: [completionsOf(() => latest.current)], icons: false }),
    hoverTooltip(meaningsOf(() => latest.current.schema)),
    EditorState.tabSize.of(2),
    EditorState.phrases.of({ Diagnostics: t("editor.problems") }),
    EditorView.contentAttributes.of({
      "aria-label": t("editor.text"),
      spellcheck: "false",
      tabindex: "0",
    }),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) latest.current.onChangeText(update.state.doc.toString());
      if (update.selectionSet || update.docChanged) {
        latest.current.onCursor(update.state.selection.main.head);
      }
    }),
    keymap.of([
      { key: "Mod-s", preventDefault: true, run: () => saved(latest.current) },
      { key: "Tab", run: acceptCompletion },
      ...completionKeymap,
      ...defaultKeymap,
      ...historyKeymap,
      ...searchKeymap,
      ...lintKeymap,
    ]),
    look,
  ];
}

function saved(props: Shown): boolean {
  props.onSave();
  return true;
}

/** Problems at their places; one without a place stands at the first line. */
function diagnostics(state: EditorState, problems: readonly Problem[]): Diagnostic[] {
  return problems.map((problem) => {
    const line = state.doc.line(Math.min(Math.max(problem.line, 1), state.doc.lines));
    const from = Math.min(line.from + Math.max(problem.column - 1, 0), line.to);
    const rest = /^[\w$.-]+/.exec(line.text.slice(from - line.from))?.[0].length ?? 0;
    return {
      from,
      to: Math.max(Math.min(from + rest, line.to), from),
      severity: problem.severity === "error" ? "error" : "warning",
      message: [problem.message, problem.hint].filter((part) => part !== "").join("\n"),
    };
  });
}
