/** The shell: the bar at the top, the page below it, the keys that work everywhere. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type JSX, Suspense, useEffect, useRef, useState } from "react";
import {
  NeedsRole,
  NotAllowed,
  RightsContext,
  rightsOf,
  useMay,
  useRights,
  useSeesAll,
} from "./access";
import { formatAddress, go, keyOf, useAddress } from "./address";
import { ApiError, send } from "./api/client";
import { type Session, signIn, signOut } from "./api/session";
import { ExecutionsPage } from "./executions/executions_page";
import { Confirm, Dialog, ErrorNote } from "./parts/controls";
import { ExactTime } from "./parts/exact_time";
import { Icon } from "./parts/icons";
import { Guarded, lazyPart } from "./parts/lazy_part";
import { SignIn } from "./sign_in";
import icon from "./styles/icon.svg";
import { type Key, LANGUAGES, type Language, setLanguage, t, useLanguage } from "./words";

const ExecutionPage = lazyPart(() => import("./execution/execution_page"));

const WorkflowsPage = lazyPart(() => import("./workflows/workflows_page"));
const EditorPage = lazyPart(() => import("./editor/editor_page"));
const TriggersPage = lazyPart(() => import("./triggers/triggers_page"));
const OperationsPage = lazyPart(() => import("./operations/operations_page"));

const PAGES = [
  { name: "executions", key: "e" },
  { name: "workflows", key: "w" },
  { name: "triggers", key: "t" },
  { name: "operations", key: "o" },
] as const;

export function App(): JSX.Element {
  useLanguage();
  const session = useQuery({
    queryKey: ["session"],
    queryFn: readSession,
    staleTime: Number.POSITIVE_INFINITY,
  });
  useSessionEnd();
  if (session.data === undefined) {
    return session.isError ? (
      <main className="page">
        <ErrorNote error={session.error} onRetry={() => void session.refetch()} />
      </main>
    ) : (
      <main className="page" aria-busy="true" />
    );
  }
  if (!session.data.signed_in) return <SignIn onSignedIn={() => void session.refetch()} />;
  return (
    <RightsContext value={rightsOf(session.data)}>
      <Shell isKeyed={session.data.key_needed} />
      {session.data.offeredKey !== undefined && <OfferedKey offeredKey={session.data.offeredKey} />}
    </RightsContext>
  );
}

interface OfferedSession extends Session {
  /** A key of the address that nobody has agreed to. */
  offeredKey?: string | undefined;
}

/** Ask whether this browser has shown the key; the page that `rillflow up --key` writes has it.

Any page may link to an address with a key of its own, so it replaces no session unasked: what
a person does next would be done with the key, and in the workspaces, of whoever made the link.
*/
async function readSession(): Promise<OfferedSession> {
  const session = await send<Session>("GET", "console/session");
  const key = keyOf(location.hash);
  if (key === null) return session;
  go("#/executions", { replace: true });
  if (!session.key_needed) return session;
  if (session.signed_in) return { ...session, offeredKey: key };
  await signIn(key).catch(() => null);
  return send<Session>("GET", "console/session");
}

/** Ask whoever is signed in whether the key of the address takes the place of theirs. */
function OfferedKey({ offeredKey }: { offeredKey: string }): JSX.Element {
  const client = useQueryClient();
  const close = () =>
    client.setQueryData<OfferedSession>(
      ["session"],
      (now) => now && { ...now, offeredKey: undefined },
    );
  const change = async () => {
    await signIn(offeredKey);
    location.reload();
  };
  return (
    <Confirm
      title={t("sign.offered")}
      text={t("sign.offeredWhy")}
      action={t("sign.submit")}
      onClose={close}
      onDo={change}
    />
  );
}

/** Show the sign-in page once an answer says that the session has ended. */
function useSessionEnd(): void {
  const client = useQueryClient();
  useEffect(
    () =>
      client.getQueryCache().subscribe((event) => {
        const error = event.query.state.error;
        if (error instanceof ApiError && error.status === 401) {
          void client.invalidateQueries({ queryKey: ["session"] });
        }
      }),
    [client],
  );
}

function Shell({ isKeyed }: { isKeyed: boolean }): JSX.Element {
  const { parts } = useAddress();
  const [isHelping, setHelping] = useState(false);
  const seesAll = useSeesAll();
  const page = parts[0] ?? "executions";
  useKeys(() => setHelping(true));
  useTitle(parts);
  return (
    <>
      <button type="button" className="skip button" onClick={skip}>
        {t("app.skip")}
      </button>
      <header className="top">
        <a className="brand" href={formatAddress(["executions"])} aria-label="Rillflow">
          <img src={icon} alt="" />
          <span>Rillflow</span>
        </a>
        <nav className="nav" aria-label="Rillflow">
          {PAGES.filter(({ name }) => seesAll || name !== "operations").map(({ name }) => (
            <a
              key={name}
              href={formatAddress([name])}
              aria-current={isWithin(page, name) ? "page" : undefined}
            >
              {t(`nav.${name}`)}
            </a>
          ))}
        </nav>
        <div className="grow" />
        <LanguageChoice />
        <button
          type="button"
          className="button quiet icon wide-only"
          aria-label={t("nav.keys")}
          title={t("nav.keys")}
          onClick={() => setHelping(true)}
        >
          <Icon name="keys" />
        </button>
        {isKeyed && <KeyRole />}
        {isKeyed && <SignOut />}
      </header>
      <main className="page" id="content" tabIndex={-1}>
        <Guarded key={page}>
          <Suspense fallback={<div aria-busy="true" />}>
            <Page parts={parts} />
          </Suspense>
        </Guarded>
      </main>
      <ExactTime />
      {isHelping && <Help onClose={() => setHelping(false)} />}
    </>
  );
}

/** Whether a page belongs to an entry of the bar at the top. */
function isWithin(page: string, name: string): boolean {
  return page === name || (page === "editor" && name === "workflows");
}

function Page({ parts }: { parts: readonly string[] }): JSX.Element {
  const [page = "executions", id] = parts;
  const seesAll = useSeesAll();
  if (page === "executions" && id === undefined) return <ExecutionsPage />;
  // The name of the list is what somebody writes who knows an id only.
  if ((page === "execution" || page === "executions") && id !== undefined)
    return <ExecutionPage key={id} id={id} />;
  if (page === "workflows") return <WorkflowsPage flow={id ?? null} />;
  if (page === "editor") return <Editor flow={id ?? null} />;
  if (page === "triggers") return <TriggersPage key={id ?? ""} id={id ?? null} />;
  if (page === "operations") return seesAll ? <OperationsPage /> : <OfAllWorkspaces />;
  return <p className="muted">{t("app.unknownPage")}</p>;
}

function Editor({ flow }: { flow: string | null }): JSX.Element {
  if (!useMay("author")) return <NeedsRole needed="author" />;
  return <EditorPage key={flow ?? ""} flow={flow} />;
}

/** What a page about the whole server says to a key of some workspaces. */
function OfAllWorkspaces(): JSX.Element {
  const { workspaces } = useRights();
  return <NotAllowed>{t("access.workspaces", { names: workspaces.join(", ") })}</NotAllowed>;
}

function LanguageChoice(): JSX.Element {
  const language = useLanguage();
  const other: Language = language === "en" ? "zh" : "en";
  return (
    <button
      type="button"
      className="button quiet small"
      lang={other === "zh" ? "zh-CN" : "en"}
      onClick={() => setLanguage(other)}
    >
      {LANGUAGES[other]}
    </button>
  );
}

/** What the key that is signed in may do, and where. */
function KeyRole(): JSX.Element | null {
  const { role, workspaces } = useRights();
  if (role === "admin" && workspaces.length === 0) return null;
  const names = workspaces.join(", ");
  return (
    <span
      className="muted small cut key-role"
      title={names === "" ? t("access.role", { role: t(`role.${role}`) }) : names}
    >
      {t(`role.${role}`)}
      {names !== "" && ` · ${names}`}
    </span>
  );
}

function SignOut(): JSX.Element {
  const client = useQueryClient();
  const end = async () => {
    await signOut().catch(() => null);
    client.clear();
    location.reload();
  };
  return (
    <button type="button" className="button quiet small" onClick={() => void end()}>
      {t("nav.signOut")}
    </button>
  );
}

function Help({ onClose }: { onClose: () => void }): JSX.Element {
  const rows: readonly (readonly [readonly string[], Key])[] = [
    [["/"], "keys.search"],
    ...PAGES.map(({ name, key }) => [["g", key], `keys.${name}` as Key] as const),
    [["?"], "keys.help"],
    [["Esc"], "keys.close"],
  ];
  return (
    <Dialog title={t("keys.title")} onClose={onClose}>
      <dl className="keys">
        {rows.map(([keys, key]) => (
          <div key={key} style={{ display: "contents" }}>
            <dt>
              {keys.map((each, index) => (
                <span key={each}>
                  {index > 0 && <span className="muted"> {t("keys.then")} </span>}
                  <kbd>{each}</kbd>
                </span>
              ))}
            </dt>
            <dd>{t(key)}</dd>
          </div>
        ))}
      </dl>
      <div className="dialog-foot">
        <button type="button" className="button" onClick={onClose}>
          {t("action.close")}
        </button>
      </div>
    </Dialog>
  );
}

/** `/` searches, `g` and a letter goes to a page, `?` shows the keys. */
function useKeys(onHelp: () => void): void {
  const help = useRef(onHelp);
  help.current = onHelp;
  useEffect(() => {
    let isGoing = false;
    const pressed = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.composedPath()[0]))
        return;
      const target = PAGES.find((page) => page.key === event.key);
      if (isGoing && target !== undefined) go(formatAddress([target.name]));
      isGoing = event.key === "g";
      if (event.key === "?") help.current();
      if (event.key === "/") {
        event.preventDefault();
        focusSearch();
      }
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, []);
}

function focusSearch(): void {
  const field = document.querySelector<HTMLInputElement>("[data-search]");
  if (field === null) {
    go(formatAddress(["executions"]));
    setTimeout(() => document.querySelector<HTMLInputElement>("[data-search]")?.focus(), 50);
  } else {
    field.focus();
    field.select();
  }
}

function isTyping(target: EventTarget | undefined): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName)) &&
    target.getAttribute("type") !== "checkbox"
  );
}

function skip(): void {
  document.getElementById("content")?.focus();
}

function useTitle(parts: readonly string[]): void {
  const language = useLanguage();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the words change with the language
  useEffect(() => {
    const [page = "executions", id = ""] = parts;
    const known = PAGES.find((each) => isWithin(page, each.name));
    const name =
      page === "execution" || (page === "editor" && id !== "")
        ? id
        : t(`nav.${known?.name ?? "executions"}`);
    document.title = `${name} - Rillflow`;
  }, [parts, language]);
}
