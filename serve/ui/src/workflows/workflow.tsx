/** One workflow: its aliases, versions, text, changes and uses; and submitting it. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { useMay, useSeesAll } from "../access";
import { formatAddress, goParams, useAddress } from "../address";
import { ask } from "../api/client";
import { useAnswer } from "../api/queries";
import type { Definition, Feature, Uses, Versions } from "../api/types";
import { Code, ErrorNote, Tabs } from "../parts/controls";
import { LoadMore } from "../parts/load_more";
import { t } from "../words";
import { AbView, abKeysIn } from "./ab_view";
import { DiffView } from "./diff_view";
import { SubmitDialog } from "./submit_dialog";
import { VersionTable } from "./version_table";

const TABS = ["versions", "text", "diff", "uses", "ab"] as const;
/** What compares or looks through all workspaces, and is refused to keys of some. */
const OF_ALL: ReadonlySet<string> = new Set(["diff", "uses"]);

export function Workflow({
  business,
  feature,
}: {
  business: string;
  feature: Feature;
}): JSX.Element {
  const { params } = useAddress();
  const [isSubmitting, setSubmitting] = useState(false);
  const flow = `${business}:${feature.feature}`;
  const seesAll = useSeesAll();
  const versions = useInfiniteQuery({
    queryKey: ["versions.json", flow],
    queryFn: ({ pageParam, signal }) =>
      ask<Versions>("versions.json", { flow, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });
  const listed = versions.data?.pages.flatMap((page) => page.versions);
  const newest = params["version"] ?? newestOf(feature);
  const definition = useAnswer<Definition>("definition.json", {
    descriptor_id: newest === undefined ? flow : `${flow}:md5_${newest}`,
  });
  const abKeys = abKeysIn(definition.data?.text ?? "");
  const tabs = tabsOf(seesAll, abKeys.length > 0);
  const tab = tabs.find((each) => each === params["tab"]) ?? "versions";
  return (
    <article className="stack workflow">
      <header className="one-title">
        <a className="button quiet small back" href={formatAddress(["workflows"])}>
          {t("flows.title")}
        </a>
        <h1 dir="auto">
          <span className="muted">{business}</span> <bdi>{feature.feature}</bdi>
        </h1>
        <div className="grow" />
        <span className="together">
          <a className="button small" href={formatAddress(["executions"], { q: `flow:${flow}` })}>
            {t("flows.executions")}
          </a>
          <EditLink flow={flow} feature={feature} version={newest} />
          <SubmitButton
            isReady={definition.data !== undefined}
            onSubmit={() => setSubmitting(true)}
          />
        </span>
      </header>
      <GrayRules rules={feature.gray ?? {}} hasMore={feature.has_more_gray === true} />
      <Tabs
        label={flow}
        chosen={tab}
        onChoose={(name) => goParams({ tab: name === "versions" ? null : name })}
        tabs={tabs.map((name) => ({ name, label: t(`flows.${name}`) }))}
      />
      <div role="tabpanel" aria-label={t(`flows.${tab}`)}>
        {tab === "versions" && (
          <>
            <VersionTable
              flow={flow}
              found={{ data: listed, error: versions.error }}
              chosen={newest ?? null}
            />
            {versions.hasNextPage && (
              <LoadMore
                onLoad={() => void versions.fetchNextPage()}
                isBusy={versions.isFetchingNextPage}
              />
            )}
          </>
        )}
        {tab === "text" && <Text found={definition} />}
        {tab === "diff" && <DiffView versions={listed ?? []} chosen={newest ?? null} />}
        {tab === "uses" && <UsesView flow={flow} />}
        {tab === "ab" && <AbView business={business} keys={abKeys} />}
      </div>
      {isSubmitting && definition.data !== undefined && (
        <SubmitDialog definition={definition.data} onClose={() => setSubmitting(false)} />
      )}
    </article>
  );
}

/** The version that is shown where none is named. */
function newestOf({ aliases }: Feature): string | undefined {
  return (aliases.find(({ alias }) => alias === "release") ?? aliases[0])?.definition_id;
}

function tabsOf(seesAll: boolean, hasAb: boolean) {
  return TABS.filter((each) => (each === "ab" ? hasAb : seesAll || !OF_ALL.has(each)));
}

function GrayRules({
  rules,
  hasMore,
}: {
  rules: Readonly<Record<string, string>>;
  hasMore: boolean;
}): JSX.Element | null {
  const listed = Object.entries(rules);
  if (listed.length === 0) return null;
  return (
    <p className="facts">
      <span className="muted">{t("flows.gray")}</span>
      {listed.map(([alias, rule]) => (
        <span key={alias}>
          {alias}: <code>{rule}</code>
        </span>
      ))}
      {hasMore && <span>…</span>}
    </p>
  );
}

function SubmitButton({
  isReady,
  onSubmit,
}: {
  isReady: boolean;
  onSubmit: () => void;
}): JSX.Element | null {
  if (!useMay("submitter")) return null;
  return (
    <button type="button" className="button primary small" disabled={!isReady} onClick={onSubmit}>
      {t("flows.submit")}
    </button>
  );
}

/** The way to the editor; a version is saved again under the only alias, or under `release`. */
function EditLink({
  flow,
  feature,
  version,
}: {
  flow: string;
  feature: Feature;
  version: string | undefined;
}): JSX.Element | null {
  const mayWrite = useMay("author");
  if (!mayWrite) return null;
  const alias = feature.aliases.length === 1 ? feature.aliases[0]?.alias : undefined;
  return (
    <a className="button small" href={formatAddress(["editor", flow], { version, alias })}>
      {t("flows.edit")}
    </a>
  );
}

function Text({ found }: { found: { data: Definition | undefined; error: unknown } }): JSX.Element {
  if (found.data === undefined) {
    return found.error === null ? <div aria-busy="true" /> : <ErrorNote error={found.error} />;
  }
  return <Code label={t("flows.text")} text={found.data.text} />;
}

function UsesView({ flow }: { flow: string }): JSX.Element {
  const found = useInfiniteQuery({
    queryKey: ["uses.json", flow],
    queryFn: ({ pageParam, signal }) => ask<Uses>("uses.json", { flow, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const uses = found.data.pages.flatMap((page) => page.uses);
  const usedBy = found.data.pages.flatMap((page) => page.used_by);
  const isWhole = !found.hasNextPage;
  return (
    <div className="stack">
      <h2>{t("flows.uses")}</h2>
      {isWhole && uses.length === 0 && <p className="muted">{t("flows.usesNone")}</p>}
      <ul>
        {uses.map((each) => (
          <li key={`${each.alias}:${each.task}:${each.flow}`} className="row">
            <a href={formatAddress(["workflows", each.flow])}>{each.flow}</a>
            <span className="muted">{each.task}</span>
          </li>
        ))}
      </ul>
      <h2>{t("flows.usedBy")}</h2>
      {isWhole && usedBy.length === 0 && <p className="muted">{t("flows.usedByNone")}</p>}
      <ul>
        {usedBy.map((each) => (
          <li key={`${each.flow}${each.alias}${each.task}`} className="row">
            <a href={formatAddress(["workflows", each.flow])}>{each.flow}</a>
            <span className="muted">
              {each.alias}, {each.task}
            </span>
          </li>
        ))}
      </ul>
      {!isWhole && (
        <LoadMore
          onLoad={() => void found.fetchNextPage()}
          isBusy={found.isFetchingNextPage}
          label={uses.length + usedBy.length === 0 ? t("list.searchOn") : undefined}
        />
      )}
      {found.isFetchNextPageError && <ErrorNote error={found.error} />}
    </div>
  );
}
