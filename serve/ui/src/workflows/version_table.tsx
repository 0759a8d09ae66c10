/** The versions of a workflow, how their executions have ended, and going back to one. */

import { useQueryClient } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { formatAddress, goParams } from "../address";
import { ask, post } from "../api/client";
import type { Definition, Version } from "../api/types";
import { shortVersion } from "../format";
import { Confirm, ErrorNote } from "../parts/controls";
import { Clock } from "../parts/time";
import { t } from "../words";

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
  if (found.data === undefined) {
    return found.error === null ? <div aria-busy="true" /> : <ErrorNote error={found.error} />;
  }
  const versions = found.data;
  return (
    <>
      <div className="table-scroll">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">{t("flows.version")}</th>
              <th scope="col">{t("flows.created")}</th>
              <th scope="col">{t("flows.aliases")}</th>
              <th scope="col">{t("flows.executions")}</th>
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
                        tab: index < versions.length - 1 ? "diff" : "text",
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
                <td>
                  <a
                    href={formatAddress(["executions"], {
                      q: `flow:${flow} version:${version.definition_id}`,
                    })}
                  >
                    {t("action.open")}
                  </a>
                </td>
                <td className="deeds">
                  {version.aliases
                    .filter((alias) => !version.is_newest_of.includes(alias))
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
      </div>
      {back !== null && (
        <RollBack flow={flow} version={back[0]} alias={back[1]} onClose={() => setBack(null)} />
      )}
    </>
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
