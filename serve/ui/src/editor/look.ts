/** How the text of a definition looks, in the colours of the page. */

import { HighlightStyle } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export const colours = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: "var(--blue)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--green)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--muted)", fontStyle: "italic" },
  { tag: [tags.keyword, tags.atom, tags.bool, tags.null, tags.number], color: "var(--violet)" },
  { tag: [tags.punctuation, tags.separator, tags.bracket], color: "var(--muted)" },
]);

export const look = EditorView.theme({
  "&": { height: "100%", backgroundColor: "var(--ground)", color: "var(--text)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "20px", overflow: "auto" },
  ".cm-content": { padding: "8px 0", caretColor: "var(--text)" },
  ".cm-line": { padding: "0 12px 0 6px" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": {
    backgroundColor: "var(--ground)",
    color: "var(--muted)",
    border: "none",
    fontVariantNumeric: "tabular-nums",
  },
  ".cm-gutter-lint": { width: "14px" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--sunk)" },
  ".cm-activeLineGutter": { color: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { backgroundColor: "var(--chosen)" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": {
    backgroundColor: "var(--chosen)",
    outline: "1px solid var(--line-strong)",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    borderRadius: "6px",
    boxShadow: "0 6px 20px rgb(0 0 0 / 18%)",
    maxWidth: "min(480px, 90vw)",
    overflow: "hidden",
  },
  ".cm-tooltip-hover": { padding: "8px 12px", font: "13px/18px var(--sans)" },
  ".cm-tooltip.cm-tooltip-lint": { padding: "0" },
  ".cm-meaning-key": { fontFamily: "var(--mono)", fontWeight: "600" },
  ".cm-meaning-type": { color: "var(--muted)", marginLeft: "8px", fontFamily: "var(--mono)" },
  ".cm-diagnostic": { padding: "6px 12px", font: "13px/18px var(--sans)", whiteSpace: "pre-wrap" },
  ".cm-diagnostic-error": { borderLeft: "3px solid var(--red)" },
  ".cm-diagnostic-warning": { borderLeft: "3px solid var(--amber)" },
  ".cm-lintRange-error": { backgroundImage: "none", borderBottom: "2px dotted var(--red)" },
  ".cm-lintRange-warning": { backgroundImage: "none", borderBottom: "2px dotted var(--amber)" },
  ".cm-lintPoint-error:after": { borderBottomColor: "var(--red)" },
  ".cm-lintPoint-warning:after": { borderBottomColor: "var(--amber)" },
  ".cm-lint-marker": { width: "10px", height: "10px", marginTop: "5px", content: "none" },
  ".cm-lint-marker-error": { backgroundColor: "var(--red)", borderRadius: "3px" },
  ".cm-lint-marker-warning": { backgroundColor: "var(--amber)", borderRadius: "50%" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": {
    fontFamily: "var(--mono)",
    fontSize: "12.5px",
    maxHeight: "16em",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "3px 10px", lineHeight: "18px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    backgroundColor: "var(--chosen)",
    color: "var(--text)",
  },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "600" },
  ".cm-completionDetail": { color: "var(--muted)", fontStyle: "normal", marginLeft: "12px" },
  ".cm-tooltip.cm-completionInfo": { padding: "8px 12px", font: "13px/18px var(--sans)" },
  ".cm-panels": {
    backgroundColor: "var(--sunk)",
    color: "var(--text)",
    borderTop: "1px solid var(--line)",
  },
  ".cm-panels.cm-panels-bottom": { borderTop: "1px solid var(--line)" },
  ".cm-panel.cm-search": { padding: "6px 8px", fontFamily: "var(--sans)" },
  ".cm-textfield": {
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line-strong)",
    borderRadius: "4px",
  },
  ".cm-button": {
    backgroundImage: "none",
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line-strong)",
    borderRadius: "4px",
  },
  ".cm-searchMatch": { backgroundColor: "var(--chosen)", outline: "1px solid var(--line-strong)" },
});
