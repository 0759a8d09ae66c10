/** A form from the schema of a workflow's input: a JSON Schema, or Rill Flow's list of fields. */

export type FieldKind = "text" | "number" | "boolean" | "choice" | "json";

export interface Field {
  readonly name: string;
  readonly kind: FieldKind;
  readonly isWhole: boolean;
  readonly isRequired: boolean;
  readonly text: string;
  readonly choices: readonly string[];
  readonly initial: string;
}

/** The fields of a schema; `null` where a form cannot be made of it. */
export function fieldsOf(schema: unknown): Field[] | null {
  const value = typeof schema === "string" ? parsed(schema) : schema;
  if (Array.isArray(value)) {
    const fields = value.filter(isObject).map(fieldOfList);
    return fields.length > 0 && fields.length === value.length ? fields : null;
  }
  if (!isObject(value) || !isObject(value["properties"])) return null;
  const required = Array.isArray(value["required"]) ? value["required"] : [];
  return Object.entries(value["properties"]).map(([name, each]) =>
    fieldOf(name, isObject(each) ? each : {}, required.includes(name)),
  );
}

/** The input that a filled form means; throws for a text that is no value of its kind. */
export function inputOf(
  fields: readonly Field[],
  texts: Readonly<Record<string, string>>,
): Record<string, unknown> {
  const input: Record<string, unknown> = {};
  for (const field of fields) {
    const text = texts[field.name] ?? field.initial;
    if (text !== "") input[field.name] = valueIn(field, text);
  }
  return input;
}

function valueIn(field: Field, text: string): unknown {
  if (field.kind === "number") {
    const value = Number(text);
    if (!Number.isFinite(value) || (field.isWhole && !Number.isInteger(value))) {
      throw new Error(`${field.name}: ${text}`);
    }
    return value;
  }
  if (field.kind === "boolean") return text === "true";
  if (field.kind === "text") return text;
  const value = parsed(text);
  if (value === undefined) throw new Error(`${field.name}: ${text.slice(0, 40)}`);
  return value;
}

function fieldOf(name: string, schema: Record<string, unknown>, isRequired: boolean): Field {
  const options = Array.isArray(schema["enum"]) ? schema["enum"] : [];
  const kind = options.length > 0 ? "choice" : kindOf(String(schema["type"] ?? ""));
  const initial = schema["default"];
  return {
    name,
    kind,
    isWhole: schema["type"] === "integer",
    isRequired,
    text: [schema["title"], schema["description"]]
      .filter((each) => typeof each === "string")
      .join(": "),
    choices: options.map((each) => JSON.stringify(each)),
    initial: initial === undefined ? "" : textOf(initial, kind),
  };
}

/** A field as Rill Flow writes it: `{"name", "type": "String", "required", "desc"}`. */
function fieldOfList(item: Record<string, unknown>): Field {
  const type = String(item["type"] ?? "").toLowerCase();
  const schema = { type, description: item["desc"], default: item["default"] };
  return fieldOf(String(item["name"] ?? ""), schema, item["required"] === true);
}

function kindOf(type: string): FieldKind {
  if (["number", "integer", "double", "float", "long", "int"].includes(type)) return "number";
  if (type === "boolean") return "boolean";
  return type === "string" ? "text" : "json";
}

function textOf(value: unknown, kind: FieldKind): string {
  return kind === "text" && typeof value === "string" ? value : JSON.stringify(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
