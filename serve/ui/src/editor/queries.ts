/** What the editor asks of the server. */

import { keepPreviousData, type UseQueryResult, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { post } from "../api/client";
import type { Draft, DryRun, Evaluation } from "../api/types";

const V1 = "flow/console/v1/";
const PAUSE_MS = 350;

/** A value that follows another one when that has not changed for a moment. */
export function useSettled<T>(value: T, ms = PAUSE_MS): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

/** The problems and the graph of a text, a moment after it has changed. */
export function useDraft(text: string, compare: string | null = null): UseQueryResult<Draft> {
  return useQuery<Draft>({
    queryKey: ["draft.json", text, compare],
    queryFn: () => post<Draft>(`${V1}draft.json`, { descriptor_id: compare }, text),
    placeholderData: keepPreviousData as never,
    gcTime: 0,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
}

export interface GivenAnswer {
  output?: unknown;
  error?: string;
}

export interface Trial {
  definition: string;
  input?: unknown;
  answers: Record<string, GivenAnswer>;
  assume: boolean;
}

/** Run a definition; what has no answer is answered as in the execution, if there is one. */
export async function tried(trial: Trial, execution: string | null): Promise<DryRun> {
  return post<DryRun>(`${V1}dry_run.json`, { execution_id: execution }, trial);
}

export interface Question {
  execution_id: string;
  kind: "path" | "expression" | "condition" | "mappings";
  text: string;
  task: string;
  event?: number;
}

const NOTHING: Question = { execution_id: "", kind: "path", text: "", task: "" };

/** The value of a text with the data of an execution. */
export function useEvaluation(question: Question | null): UseQueryResult<Evaluation> {
  return useQuery<Evaluation>({
    queryKey: ["evaluate.json", question],
    queryFn: () => {
      const { execution_id, event, ...asked } = question ?? NOTHING;
      return post<Evaluation>(`${V1}evaluate.json`, { execution_id, event }, asked);
    },
    enabled: question !== null && question.text.trim() !== "",
    placeholderData: keepPreviousData as never,
    retry: false,
  });
}
