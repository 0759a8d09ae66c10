/** Commands that fill an empty page, with the address of this server. */

import { addressOf } from "../api/client";

/** Add the example of the repository. */
export function addCommand(): string {
  const address = addressOf("flow/bg/manage/descriptor/add_descriptor.json", {
    business_id: "examples",
    feature_name: "quickstart",
    alias: "release",
  });
  return `curl -X POST --data-binary @examples/quickstart.yaml \\\n  "${whole(address)}"`;
}

/** Submit it. */
export function submitCommand(): string {
  const address = addressOf("flow/submit.json", { descriptor_id: "examples:quickstart" });
  const head = "curl -X POST -H 'Content-Type: application/json' -d '{\"name\": \"Bob\"}'";
  return `${head} \\\n  "${whole(address)}"`;
}

function whole(address: string): string {
  return `${new URL(".", location.href).href}${address.replaceAll("%3A", ":")}`;
}
