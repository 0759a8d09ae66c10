/** The A/B tables from which the calls of a workflow choose their functions. */

import { useQuery } from "@tanstack/react-query";
import type { JSX } from "react";
import { addressOf, send } from "../api/client";
import type { AbTable } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { TableScroll } from "../parts/table_scroll";
import { t } from "../words";

const MOST_TABLES = 50;

/** The names of the tables that a definition calls, each once. */
export function abKeysIn(text: string): string[] {
  const found = [...text.matchAll(/\bab:\/\/([\w.-]+)/g)].map((each) => each[1] ?? "");
  return [...new Set(found)].slice(0, MOST_TABLES);
}

export function AbView({ business, keys }: { business: string; keys: string[] }): JSX.Element {
  return (
    <div className="stack">
      {keys.map((key) => (
        <AbRules key={key} business={business} name={key} />
      ))}
    </div>
  );
}

function AbRules({ business, name }: { business: string; name: string }): JSX.Element {
  const params = { business_id: business, config_key: name };
  const found = useQuery({
    queryKey: ["get_function_ab.json", params],
    queryFn: ({ signal }) => send<AbTable>("GET", addressOf(PATH, params), undefined, signal),
  });
  return (
    <section className="stack" aria-label={`ab://${name}`}>
      <h2 className="mono">ab://{name}</h2>
      {found.isError && <ErrorNote error={found.error} onRetry={() => void found.refetch()} />}
      {found.data !== undefined && <Rules name={name} table={found.data} />}
    </section>
  );
}

const PATH = "flow/bg/manage/descriptor/get_function_ab.json";

function Rules({ name, table: { ab } }: { name: string; table: AbTable }): JSX.Element {
  if (ab.default_resource_name === undefined && ab.rules.length === 0) {
    return <p className="muted">{t("flows.ab.none")}</p>;
  }
  return (
    <TableScroll label={`ab://${name}`}>
      <table className="table">
        <thead>
          <tr>
            <th scope="col">{t("flows.ab.rule")}</th>
            <th scope="col">{t("flows.ab.function")}</th>
          </tr>
        </thead>
        <tbody>
          {ab.rules.map(({ rule, resource_name: called }) => (
            <tr key={called}>
              <td className="mono" dir="auto">
                {rule}
              </td>
              <td className="mono" dir="auto">
                {called}
              </td>
            </tr>
          ))}
          {ab.default_resource_name !== undefined && (
            <tr>
              <td className="muted">{t("flows.ab.default")}</td>
              <td className="mono" dir="auto">
                {ab.default_resource_name}
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </TableScroll>
  );
}
