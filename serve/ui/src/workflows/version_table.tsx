/** The versions of a workflow, how their executions have ended, and going back to one. */

import { useQueries, useQueryClient } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { useMay, useSeesAll } from "../access";
import { formatAddress, goParams } from "../address";
import { ask, post } from "../api/client";
import type { Definition, Version, VersionCount, VersionCounts } from "../api/types";
import { shortVersion } from "../format";
import { Confirm, ErrorNote } from "../parts/controls";
import { TableScroll } from "../parts/table_scroll";
import { Clock } from "../parts/time";
import { number, t } from "../words";
import { percent } from "./rates";

/** How many versions one answer counts. */
const AT_ONCE = 20;
const COUNTS_MS = 10_000;

/** Ask how the executions of some versions have ended, part by part. */
function useCounts(flow: string, versions: readonly Version[]): ReadonlyMap<string, VersionCount> {
  const ids = versions.map((each) => each.definition_id);
  const parts = Array.from({ length: Math.ceil(ids.length / AT_ONCE) }, (_, index) =>
    ids.slice(index * AT_ONCE, (index + 1) * AT_ONCE),
  );
  const answers = useQueries({
    queries: parts.map((part) => ({
      queryKey: ["version_counts.json", flow, part],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        ask<VersionCounts>("version_counts.json", { flow, versions: part.join(",") }, signal),
      staleTime: COUNTS_MS,
    })),
  });
  return new Map(answers.flatMap(({ data }) => Object.entries(data?.versions ?? {})));
}

export function VersionTable({
  flow,
  found,
  chosen,
}: {
  flow: string;
  found: { data: readonly Version[] | undefined; error: unknown };
  chosen: string | null;
}): JSX.Element {
  const [back, setBack] = useState<readonly [Version, string] | null>(null);
  const mayWrite = useMay("author");
  const seesAll = useSeesAll();
  const counts = useCounts(flow, found.data ?? []);
  if (found.data === undefined) {
    return found.error === null ? <div aria-busy="true" /> : <ErrorNote error={found.error} />;
  }
  const versions = found.data;
  return (
    <>
      <TableScroll label={t("flows.versions")}>
        <table className="table">
          <thead>
            <tr>
              <th scope="col">{t("flows.version")}</th>
              <th scope="col">{t("flows.created")}</th>
              <th scope="col">{t("flows.aliases")}</th>
              <th scope="col" className="num">
                {t("flows.executions")}
              </th>
              <th scope="col">{t("flows.rate")}</th>
              <th scope="col">
                <span className="unseen">{t("flows.rollBack")}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {versions.map((version, index) => (
              <tr
                key={version.definition_id}
                className={version.definition_id === chosen ? "chosen" : ""}
              >
                <th scope="row">
                  <button
                    type="button"
                    className="link mono"
                    title={version.definition_id}
                    onClick={() =>
                      goParams({
                        version: version.definition_id,
                        tab: seesAll && index < versions.length - 1 ? "diff" : "text",
                      })
                    }
                  >
                    {shortVersion(version.definition_id)}
                  </button>
                </th>
                <td>
                  <Clock ms={version.created_ms} />
                </td>
                <td>
                  {version.is_newest_of.length > 0 ? (
                    t("flows.newest", { aliases: version.is_newest_of.join(", ") })
                  ) : (
                    <span className="muted">{version.aliases.join(", ")}</span>
                  )}
                </td>
                <td className="num">
                  <a
                    href={formatAddress(["executions"], {
                      q: `flow:${flow} version:${version.definition_id}`,
                    })}
                  >
                    <Executions count={counts.get(version.definition_id)} />
                  </a>
                </td>
                <td>
                  <Rate count={counts.get(version.definition_id)} />
                </td>
                <td className="deeds">
                  {version.aliases
                    .filter((alias) => mayWrite && !version.is_newest_of.includes(alias))
                    .map((alias) => (
                      <button
                        type="button"
                        key={alias}
                        className="button small"
                        onClick={() => setBack([version, alias])}
                      >
                        {t("flows.rollBack")}
                      </button>
                    ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      {back !== null && (
        <RollBack flow={flow} version={back[0]} alias={back[1]} onClose={() => setBack(null)} />
      )}
    </>
  );
}

function Executions({ count }: { count: VersionCount | undefined }): JSX.Element {
  if (count === undefined) return <>{t("action.open")}</>;
  return <>{count.is_whole ? number(count.total) : `≥ ${number(count.total)}`}</>;
}

/** The success rate as a number, and as a bar of those that ended well and those that did not. */
function Rate({ count }: { count: VersionCount | undefined }): JSX.Element | null {
  if (count === undefined) return null;
  const { success_rate: rate, counts } = count;
  if (rate === null) return <span className="muted">{t("flows.noneEnded")}</span>;
  const failed = counts.failed ?? 0;
  const said = t("flows.ended", {
    succeeded: number(counts.succeeded ?? 0),
    failed: number(failed),
  });
  return (
    <span className="rate" title={said}>
      <span className="num">{percent(rate)}</span>
      <meter min={0} max={1} value={rate} aria-label={said} />
      {failed > 0 && (
        <span className="s-failed num">{t("flows.failedCount", { n: number(failed) })}</span>
      )}
    </span>
  );
}

function RollBack({
  flow,
  version,
  alias,
  onClose,
}: {
  flow: string;
  version: Version;
  alias: string;
  onClose: () => void;
}): JSX.Element {
  const client = useQueryClient();
  const [business = "", feature = ""] = flow.split(":");
  const roll = async () => {
    const { text } = await ask<Definition>("definition.json", {
      descriptor_id: `${flow}:md5_${version.definition_id}`,
    });
    await post(
      "flow/bg/manage/descriptor/add_descriptor.json",
      { business_id: business, feature_name: feature, alias },
      text,
    );
    goParams({ version: null });
    await client.invalidateQueries();
  };
  return (
    <Confirm
      title={t("flows.rollBack.title", { alias })}
      text={t("flows.rollBack.text", { version: shortVersion(version.definition_id), alias })}
      action={t("flows.rollBack")}
      onClose={onClose}
      onDo={roll}
    />
  );
}
