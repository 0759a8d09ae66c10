/** Completion and explanations of keys, from the JSON Schema of the language. */

import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import type { Text } from "@codemirror/state";
import type { EditorView, Tooltip } from "@codemirror/view";
import { type Place, placeAt } from "./places";
import { keysAt, meaningAt, type Offer, type Schema, valuesAt } from "./schema";
import type { TaskPlace } from "./tasks";

interface Known {
  readonly schema: Schema | null;
  readonly tasks: readonly TaskPlace[];
}

const OF_TASKS = new Set(["next", "catch"]);
const ROOTS = ["$.context.", "$.input.", "$.output."];
const OF_PATHS = new Set(["source", "target", "collection"]);
const MOST_LINES_AROUND = 5_000;

/** Complete the key or the value that is being written. */
export function completionsOf(known: () => Known) {
  return (context: CompletionContext): CompletionResult | null => {
    const { schema, tasks } = known();
    const line = context.state.doc.lineAt(context.pos);
    const place = placeIn(context.state.doc, context.pos);
    const isAsked = context.explicit || place.word !== "";
    if (schema === null || !isAsked || line.text.slice(0, place.from).includes("#")) return null;
    const from = line.from + place.from;
    return place.key === null
      ? keysOffered(schema, place, from)
      : valuesOffered(schema, tasks, place, place.key, from);
  };
}

function keysOffered(schema: Schema, place: Place, from: number): CompletionResult | null {
  if (!/^[\w$-]*$/.test(place.word)) return null;
  return { from, options: keysAt(schema, place).map(keyOption), validFor: /^[\w$-]*$/ };
}

function valuesOffered(
  schema: Schema,
  tasks: readonly TaskPlace[],
  place: Place,
  key: string,
  from: number,
): CompletionResult | null {
  if (OF_TASKS.has(key)) {
    const last = place.word.search(/[^,\s]*$/); // the last one of several names
    const options = tasks.map(({ name }) => ({ label: name, type: "variable" }));
    return { from: from + last, options };
  }
  const roots = OF_PATHS.has(key) ? ROOTS.map((label) => ({ label, type: "text" })) : [];
  const values = valuesAt(schema, place).map(({ label }) => ({ label, type: "constant" }));
  return values.length + roots.length === 0 ? null : { from, options: [...values, ...roots] };
}

function placeIn(doc: Text, position: number): Place {
  const line = doc.lineAt(position);
  const first = Math.max(1, line.number - MOST_LINES_AROUND);
  const last = Math.min(doc.lines, line.number + MOST_LINES_AROUND);
  const lines = doc.sliceString(doc.line(first).from, doc.line(last).to).split("\n");
  return placeAt(lines, line.number - first, position - line.from);
}

function keyOption(offer: Offer) {
  return {
    label: offer.label,
    detail: offer.detail.length > 28 ? `${offer.detail.slice(0, 27)}…` : offer.detail,
    type: "property",
    apply: offer.isContainer ? `${offer.label}:` : `${offer.label}: `,
    ...(offer.info === "" ? {} : { info: () => textOf(offer.info) }),
  };
}

/** Explain the key under the pointer. */
export function meaningsOf(schema: () => Schema | null) {
  return (view: EditorView, position: number): Tooltip | null => {
    const known = schema();
    const line = view.state.doc.lineAt(position);
    const at = position - line.from;
    const before = /[\w$-]*$/.exec(line.text.slice(0, at))?.[0] ?? "";
    const after = /^[\w$-]*(?=\s*:)/.exec(line.text.slice(at))?.[0];
    if (known === null || after === undefined || before + after === "") return null;
    const from = position - before.length;
    const place = placeIn(view.state.doc, from);
    const meaning = meaningAt(known, place, before + after);
    if (meaning === null || meaning.info === "") return null;
    return {
      pos: from,
      end: position + after.length,
      above: true,
      create: () => ({ dom: meaningShown(meaning) }),
    };
  };
}

function meaningShown(meaning: Offer): HTMLElement {
  const shown = document.createElement("div");
  const key = document.createElement("span");
  key.className = "cm-meaning-key";
  key.textContent = meaning.label;
  const type = document.createElement("span");
  type.className = "cm-meaning-type";
  type.textContent = meaning.detail;
  shown.append(key, type, textOf(meaning.info));
  return shown;
}

function textOf(text: string): HTMLElement {
  const shown = document.createElement("div");
  for (const [index, part] of text.split("`").entries()) {
    const each = document.createElement(index % 2 === 1 ? "code" : "span");
    each.textContent = part;
    shown.append(each);
  }
  return shown;
}
