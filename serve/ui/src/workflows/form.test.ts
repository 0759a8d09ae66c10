import { expect, test } from "vitest";
import { fieldsOf, inputOf } from "./form";

const SCHEMA = JSON.stringify({
  type: "object",
  required: ["city"],
  properties: {
    city: { type: "string", title: "City", description: "where" },
    days: { type: "integer", default: 3 },
    unit: { enum: ["C", "F", 1] },
    fine: { type: "boolean" },
    more: { type: "object" },
  },
});

test("a JSON Schema is a form", () => {
  const fields = fieldsOf(SCHEMA) ?? [];
  expect(fields.map(({ name, kind, isRequired }) => [name, kind, isRequired])).toEqual([
    ["city", "text", true],
    ["days", "number", false],
    ["unit", "choice", false],
    ["fine", "boolean", false],
    ["more", "json", false],
  ]);
  const texts = { city: "Ulm", unit: "1", fine: "false", more: '{"a": [1]}' };
  expect(inputOf(fields, texts)).toEqual({
    city: "Ulm",
    days: 3,
    unit: 1,
    fine: false,
    more: { a: [1] },
  });
});

test("Rill Flow's list of fields is a form", () => {
  const fields = fieldsOf(
    '[{"required": true, "name": "city", "type": "String", "desc": "where"}]',
  );
  expect(fields).toHaveLength(1);
  expect(fields?.[0]).toMatchObject({
    name: "city",
    kind: "text",
    isRequired: true,
    text: "where",
  });
});

test("a text that is no value of its kind is refused", () => {
  const fields = fieldsOf(SCHEMA) ?? [];
  expect(() => inputOf(fields, { days: "2.5" })).toThrow("days");
  expect(() => inputOf(fields, { days: "many" })).toThrow("days");
  expect(() => inputOf(fields, { more: "{" })).toThrow("more");
});

test.each([null, "", "{", "[]", "[1]", "{}", 5])("there is no form for %j", (schema) => {
  expect(fieldsOf(schema)).toBeNull();
});
