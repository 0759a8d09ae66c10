/** What the JSON Schema of the language allows at a place. */

import type { Place } from "./places";

export interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

export interface Offer {
  readonly label: string;
  readonly detail: string;
  readonly info: string;
  readonly isContainer: boolean;
}

const DEEPEST = 8;

/** The alternatives of a schema, references followed. */
function alternatives(root: Schema, schema: Schema, depth = 0): Schema[] {
  const name = schema.$ref?.replace("#/$defs/", "");
  const target = name === undefined ? undefined : root.$defs?.[name];
  const inner =
    target === undefined ? [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])] : [target];
  if (inner.length === 0) return schema.type === "null" ? [] : [schema];
  return depth > DEEPEST ? [] : inner.flatMap((each) => alternatives(root, each, depth + 1));
}

/** The schemas that may hold at a path; those of tasks are narrowed by their category. */
function schemasAt(root: Schema, place: Place): Schema[] {
  let found = alternatives(root, root);
  for (const [index, step] of place.path.entries()) {
    found = found.flatMap((schema) => {
      const next = step === "-" ? schema.items : memberOf(schema, step);
      return next === undefined ? [] : alternatives(root, next);
    });
    const isLastTask =
      step === "-" &&
      place.path[index - 1] === "tasks" &&
      !place.path.slice(index + 1).includes("tasks");
    if (isLastTask && place.category !== null) found = ofCategory(found, place.category);
  }
  return found;
}

function memberOf(schema: Schema, key: string): Schema | undefined {
  const own = schema.properties?.[key];
  if (own !== undefined) return own;
  return typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

function ofCategory(schemas: Schema[], category: string): Schema[] {
  const narrowed = schemas.filter((each) => each.properties?.["category"]?.const === category);
  return narrowed.length > 0 ? narrowed : schemas;
}

/** The keys that may be written at a place, without those that are there. */
export function keysAt(root: Schema, place: Place): Offer[] {
  const offers = new Map<string, Offer>();
  for (const schema of schemasAt(root, place)) {
    for (const [label, member] of Object.entries(schema.properties ?? {})) {
      if (place.siblings.has(label) || offers.has(label)) continue;
      offers.set(label, offerOf(root, label, member));
    }
  }
  return [...offers.values()];
}

/** The values that may be written for the key of a place. */
export function valuesAt(root: Schema, place: Place): Offer[] {
  const offers = new Map<string, Offer>();
  for (const member of membersAt(root, place)) {
    for (const each of alternatives(root, member)) {
      const values = each.enum ?? (each.const === undefined ? [] : [each.const]);
      const all = each.type === "boolean" ? [true, false] : values;
      for (const value of all) {
        const label = String(value);
        offers.set(label, { label, detail: "", info: "", isContainer: false });
      }
    }
  }
  return [...offers.values()];
}

/** What a key means at a place. */
export function meaningAt(root: Schema, place: Place, key: string): Offer | null {
  const [member] = membersAt(root, { ...place, key });
  return member === undefined ? null : offerOf(root, key, member);
}

function membersAt(root: Schema, place: Place): Schema[] {
  const { key } = place;
  if (key === null) return [];
  return schemasAt(root, place).flatMap((schema) => {
    const member = schema.properties?.[key];
    return member === undefined ? [] : [member];
  });
}

function offerOf(root: Schema, label: string, member: Schema): Offer {
  const kinds = alternatives(root, member);
  const types = new Set(kinds.map((each) => typeOf(each)));
  return {
    label,
    detail: [...types].join(", "),
    info: member.description ?? "",
    isContainer: kinds.some((each) => each.type === "array" || each.type === "object"),
  };
}

function typeOf(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map(String).join(" | ");
  if (schema.type === "array") return "list";
  if (schema.type === "object" || schema.properties !== undefined) return "map";
  return schema.type ?? "any";
}
