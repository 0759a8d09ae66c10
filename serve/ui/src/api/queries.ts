/** What the pages ask of the server, and when it is asked anew. */

import {
  keepPreviousData,
  QueryClient,
  type UseQueryResult,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Batches } from "./batches";
import { ApiError, ask, type Params, streamAddress } from "./client";
import { listen } from "./stream";
import type { Summaries, Summary } from "./types";

const AGAIN_MS = 1000;
const MOST_WAIT_MS = 60_000;
const MOST_IDS = 50;
/** While a list is scrolled, its rows ask in groups and not with each frame. */
const ASK_AGAIN_MS = 80;

/** A server that is starting again, or that reads a long journal, is asked again. */
function isPassing(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 0 || error.status === 503);
}

export function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        retry: (count, error) => count < 5 && isPassing(error),
        retryDelay: AGAIN_MS,
        staleTime: 1000,
        refetchOnWindowFocus: false,
        networkMode: "always",
      },
      mutations: { networkMode: "always" },
    },
  });
}

/** Ask one of the console's routes; while a new answer is fetched the one before is shown. */
export function useAnswer<T>(
  path: string,
  params: Params,
  { enabled = true, keep = true }: { enabled?: boolean; keep?: boolean } = {},
): UseQueryResult<T> {
  return useQuery<T>({
    queryKey: [path, params],
    queryFn: ({ signal }) => ask<T>(path, params, signal),
    enabled,
    ...(keep ? { placeholderData: keepPreviousData as never } : {}),
  });
}

const summaries = new Batches<Summary | null>(
  MOST_IDS,
  async (ids) => {
    const answer = await ask<Summaries>("summaries.json", { ids: ids.join(",") });
    return answer.summaries;
  },
  ASK_AGAIN_MS,
);

/** The summary of one execution; those asked for at the same moment go in one request. */
export function useSummary(id: string): Summary | null {
  const found = useQuery<Summary | null>({
    queryKey: ["summary", id],
    queryFn: async () => (await summaries.get(id)) ?? null,
    staleTime: Number.POSITIVE_INFINITY,
  });
  return found.data ?? null;
}

export type StreamState = "connecting" | "open" | "lost";

/** Listen to a stream of changes; a lost connection is made again, from where it broke off. */
export function useStream(
  path: string,
  params: Params,
  onEvent: (kind: string, data: unknown) => void,
): StreamState {
  const client = useQueryClient();
  const [state, setState] = useState<StreamState>("connecting");
  const address = JSON.stringify([path, params]);
  // The stream stays while the page is drawn anew, and each event meets the newest handler.
  const handler = useRef(onEvent);
  handler.current = onEvent;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the address stands for path and params
  useEffect(() => {
    const stop = new AbortController();
    let wait = AGAIN_MS;
    let hasOpened = false;
    let last: string | null = null;
    const opened = () => {
      hasOpened = true;
      wait = AGAIN_MS;
      setState("open");
    };
    const failed = (error: unknown) => {
      if (hasOpened) setState("lost");
      if (!(error instanceof ApiError) || error.status === 0) return;
      // A refusal is not repeated as often as an attempt to reach the server.
      wait = Math.min(2 * wait, MOST_WAIT_MS);
      if (error.status === 401) void client.invalidateQueries({ queryKey: ["session"] });
    };
    const keepListening = async () => {
      while (!stop.signal.aborted) {
        const from = streamAddress(path, { ...params, last_id: last });
        await listen(from, stop.signal, opened, (event) => {
          last = event.id;
          try {
            handler.current(event.kind, JSON.parse(event.data));
          } catch (error) {
            reportError(error); // a defect of the page, and not of the stream
          }
        }).catch((error: unknown) => stop.signal.aborted || failed(error));
        await pause(wait, stop.signal);
      }
    };
    void keepListening();
    return () => stop.abort();
  }, [address]);
  return state;
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = window.setTimeout(resolve, ms);
    stop.addEventListener("abort", () => {
      window.clearTimeout(timer);
      resolve();
    });
  });
}

/** Return a function that has answers asked anew: at once, and then not more often than `ms`. */
export function useRefresh(ms: number): (key: readonly unknown[]) => void {
  const client = useQueryClient();
  const [waiting] = useState(() => new Map<string, number>());
  useEffect(
    () => () => {
      for (const timer of waiting.values()) window.clearTimeout(timer);
      waiting.clear();
    },
    [waiting],
  );
  const [last] = useState(() => new Map<string, number>());
  return (key) => {
    const name = JSON.stringify(key);
    if (waiting.has(name)) return;
    const wait = Math.max(0, (last.get(name) ?? 0) + ms - performance.now());
    waiting.set(
      name,
      window.setTimeout(() => {
        waiting.delete(name);
        last.set(name, performance.now());
        void client.invalidateQueries({ queryKey: key }, { cancelRefetch: false });
      }, wait),
    );
  };
}
