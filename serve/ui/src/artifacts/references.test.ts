/** Artifacts are found in any value, and shown only as what they are. */

import { expect, test } from "vitest";
import { type Artifact, artifactAddress, artifactsIn, kindOf, svgAddress } from "./references";

const SHA = "a".repeat(64);

function reference(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { rillflow_artifact: SHA, bytes: 12, media_type: "image/png", name: "a.png", ...changes };
}

test("references are found at any depth, in their order, each artifact once", () => {
  const other = reference({ rillflow_artifact: "b".repeat(64), name: "b.png" });
  const found = artifactsIn({ list: [{ film: reference() }, other], again: reference() });
  expect(found.map(({ name }) => name)).toEqual(["a.png", "b.png"]);
});

test.each([
  ["A text", reference().rillflow_artifact],
  ["a digest in capital letters", reference({ rillflow_artifact: "A".repeat(64) })],
  ["a path", reference({ rillflow_artifact: "../../etc/passwd" })],
  ["a number", reference({ rillflow_artifact: 5 })],
])("%s is no reference", (_, value) => {
  expect(artifactsIn({ value })).toEqual([]);
});

test("a huge or deep value is looked at in parts", () => {
  let deep: unknown = reference();
  for (let level = 0; level < 15_000; level += 1) deep = [deep];
  expect(artifactsIn(deep)).toHaveLength(1);
  expect(artifactsIn(Array.from({ length: 1_000_000 }, () => 1))).toEqual([]);
  const many = Array.from({ length: 500 }, (_, at) =>
    reference({ rillflow_artifact: String(at).padStart(64, "0") }),
  );
  expect(artifactsIn(many)).toHaveLength(24);
});

test.each([
  ["image/png", "x", "image"],
  ["image/svg+xml", "x", "svg"],
  ["audio/mpeg", "x", "audio"],
  ["video/webm", "x", "video"],
  ["application/json", "x", "json"],
  ["application/geo+json", "x", "json"],
  ["text/html", "x", "text"],
  ["application/xhtml+xml", "x", "text"],
  ["text/plain", "x", "text"],
  ["application/pdf", "x.txt", "none"],
  ["application/octet-stream", "captions.srt", "text"],
  ["application/octet-stream", "data.json", "json"],
  ["application/octet-stream", "x", "none"],
  ["image/png, text/html", "x", "none"],
] as const)("%s named %s is shown as %s", (mediaType, name, kind) => {
  expect(kindOf({ mediaType, name })).toBe(kind);
});

test("an address has the digest and the execution, and nothing that a reference says", () => {
  const [artifact] = artifactsIn(reference({ name: "../x", url: "http://evil" }));
  expect(artifactAddress(artifact as Artifact, "shop:order_c_1")).toBe(
    `flow/artifacts/${SHA}?execution_id=shop%3Aorder_c_1`,
  );
});

test("a picture of SVG is part of its address", () => {
  const bytes = new TextEncoder().encode("<svg>#ü</svg>").buffer;
  expect(svgAddress(bytes as ArrayBuffer)).toBe(
    "data:image/svg+xml,%3Csvg%3E%23%C3%BC%3C%2Fsvg%3E",
  );
});
