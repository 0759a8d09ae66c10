import { expect, test } from "vitest";
import { EventReader } from "./stream";

test("events are read from parts of any length", () => {
  const text = 'retry: 1000\n\nid: a-1\nevent: changed\ndata: {"x": "y: z"}\n\n: still here\n\n';
  for (const length of [1, 2, 3, 7, text.length]) {
    const reader = new EventReader();
    const events = [];
    for (let from = 0; from < text.length; from += length) {
      events.push(...reader.read(text.slice(from, from + length)));
    }
    expect(events).toEqual([{ id: "a-1", kind: "changed", data: '{"x": "y: z"}' }]);
  }
});

test("an event without a position has the one before", () => {
  const reader = new EventReader();
  const events = reader.read("id: 7\nevent: changed\ndata: 1\n\nevent: reset\ndata: 2\r\n\r\n");
  expect(events.map(({ id, kind, data }) => [id, kind, data])).toEqual([
    ["7", "changed", "1"],
    ["7", "reset", "2"],
  ]);
});

test("lines of data are joined, and what has none is no event", () => {
  const reader = new EventReader();
  expect(reader.read("event: gone\n\ndata: a\ndata:b\n\n")).toEqual([
    { id: null, kind: "message", data: "a\nb" },
  ]);
});
