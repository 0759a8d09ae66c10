/** What is not well, in the reader's language; in the server's words where it is not known here. */

import type { Operations } from "../api/types";
import { duration } from "../format";
import { type Key, t } from "../words";

type Problem = Operations["problems"][number];

const KINDS: Readonly<Record<string, Key>> = {
  circuit_open: "problem.circuit_open",
  dispatcher_unreachable: "problem.dispatcher_unreachable",
  limit_reached: "problem.limit_reached",
};

export function problemWord(problem: Problem): string {
  const key = KINDS[problem.kind];
  if (key === undefined) return problem.sentence;
  const openFor = problem.detail["open_for_ms"];
  return t(key, {
    subject: problem.subject,
    time: typeof openFor === "number" ? duration(openFor) : "",
  });
}
