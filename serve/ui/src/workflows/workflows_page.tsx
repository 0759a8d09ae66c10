/** The workflows of all workspaces, and one of them: its versions, text, changes and uses. */

import "../styles/workflows.css";
import { useInfiniteQuery } from "@tanstack/react-query";
import { type JSX, useEffect, useState } from "react";
import { useMay } from "../access";
import { formatAddress } from "../address";
import { ask } from "../api/client";
import type { Feature, Workspaces } from "../api/types";
import { addCommand } from "../parts/commands";
import { Code, ErrorNote } from "../parts/controls";
import { t } from "../words";
import { joined } from "./pages";
import { Workflow } from "./workflow";

export default function WorkflowsPage({ flow }: { flow: string | null }): JSX.Element {
  const [wanted, setWanted] = useState("");
  const mayWrite = useMay("author");
  const found = useInfiniteQuery({
    queryKey: ["workspaces.json"],
    queryFn: ({ pageParam, signal }) =>
      ask<Workspaces>("workspaces.json", { cursor: pageParam, limit: 200 }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });
  const { hasNextPage, isFetching, fetchNextPage } = found;
  useEffect(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);
  if (found.data === undefined) {
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  const all = joined(found.data.pages);
  if (all.every((each) => each.features.length === 0)) return <Empty />;
  const shown = all
    .map(({ business, features }) => ({
      business,
      features: features.filter(({ feature }) =>
        `${business}:${feature}`.toLowerCase().includes(wanted.toLowerCase()),
      ),
    }))
    .filter(({ features }) => features.length > 0);
  const [business = "", feature = ""] = (flow ?? "").split(":");
  const chosen = all
    .find((each) => each.business === business)
    ?.features.find((each) => each.feature === feature);
  return (
    <div className={`workflows ${flow === null ? "" : "has-chosen"}`}>
      <nav className="flow-list" aria-label={t("flows.title")}>
        <h1 className="unseen">{t("flows.title")}</h1>
        <input
          className="field"
          data-search
          type="search"
          aria-label={t("flows.find")}
          placeholder={t("flows.find")}
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
        />
        {mayWrite && (
          <a className="button small" href={formatAddress(["editor"])}>
            {t("flows.new")}
          </a>
        )}
        {shown.map((each) => (
          <section key={each.business}>
            <h2 className="muted cut" dir="auto" title={each.business}>
              {each.business}
            </h2>
            <ul>
              {each.features.map((one) => (
                <FlowLink key={one.feature} business={each.business} feature={one} flow={flow} />
              ))}
            </ul>
          </section>
        ))}
        {shown.length === 0 && <p className="muted">{t("flows.nothing")}</p>}
      </nav>
      {chosen === undefined ? (
        <p className="muted nothing choose">
          {flow === null ? t("flows.choose") : t("flows.nothing")}
        </p>
      ) : (
        <Workflow key={flow} business={business} feature={chosen} />
      )}
    </div>
  );
}

function FlowLink({
  business,
  feature,
  flow,
}: {
  business: string;
  feature: Feature;
  flow: string | null;
}): JSX.Element {
  const name = `${business}:${feature.feature}`;
  return (
    <li>
      <a
        href={formatAddress(["workflows", name])}
        aria-current={name === flow ? "true" : undefined}
        dir="auto"
      >
        <span className="cut grow">{feature.feature}</span>
        <span className="muted small cut">
          {feature.aliases.map(({ alias }) => alias).join(", ")}
        </span>
      </a>
    </li>
  );
}

function Empty(): JSX.Element {
  if (!useMay("author")) return <p className="muted">{t("flows.empty.title")}</p>;
  return (
    <div className="empty stack">
      <h1>{t("flows.empty.title")}</h1>
      <p className="muted">{t("flows.empty.text")}</p>
      <div className="row">
        <a className="button primary" href={formatAddress(["editor"])}>
          {t("flows.new")}
        </a>
      </div>
      <p className="muted">{t("flows.empty.byFile")}</p>
      <Code label={t("list.empty.add")} text={addCommand()} />
    </div>
  );
}
