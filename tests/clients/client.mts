/**
 * Calls every operation once with openapi-fetch and the types that openapi-typescript generated, and prints their names
 * as JSON. The arguments are the server's URL and the seed.
 */

import createClient from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

declare const process: { argv: string[] };

type Seed = Record<"key" | "key_id" | "other_key" | "leaked_key" | "service" | "member", string>;

const [, , url = "", text = "{}"] = process.argv;
const seed = JSON.parse(text) as Seed;
const api = createClient<paths>({ baseUrl: url, headers: { "X-API-KEY": seed.key } });
const called: (keyof operations)[] = [];

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

/** The body of a successful response. */
async function of<T>(
  operation: keyof operations,
  sent: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<NonNullable<T>> {
  const { data, error, response } = await sent;
  called.push(operation);
  check(response.ok && data !== undefined && data !== null, `${operation}: ${response.status} ${JSON.stringify(error)}`);
  return data;
}

/** A response without a body. */
async function empty(
  operation: keyof operations,
  status: number,
  sent: Promise<{ error?: unknown; response: Response }>,
): Promise<Headers> {
  const { error, response } = await sent;
  called.push(operation);
  check(response.status === status, `${operation}: ${response.status} ${JSON.stringify(error)}`);
  return response.headers;
}

// Keys and account ------------------------------------------------------------------------------------------------------

const me = await of("check_api_key", api.GET("/v2"));
check(me.api_key.id === seed.key_id && me.rate_limit !== null, "check_api_key");
const again: components["schemas"]["WhoAmI"] = await of("check_api_key_in_body", api.POST("/v2", { body: {} }));
check(again.account.slug === "acme", "check_api_key_in_body");
const account = await of("get_account", api.GET("/v2/account"));
check(account.max_key_lifetime_days === null, "get_account");
const renamed = await of("change_account", api.PATCH("/v2/account", { body: { name: "Acme Ltd" } }));
check(renamed.name === "Acme Ltd", "change_account");

// Projects --------------------------------------------------------------------------------------------------------------

const project = await of(
  "create_project",
  api.POST("/v2/projects", { params: { header: { "Idempotency-Key": "typescript-1" } }, body: { name: "Shop" } }),
);
const projects = await of("list_projects", api.GET("/v2/projects", { params: { query: { q: "Shop", limit: 1 } } }));
check(projects.results[0]?.id === project.id && projects.next === null, "list_projects");
const ofProject = { path: { project_id: project.id } };
await of("get_project", api.GET("/v2/projects/{project_id}", { params: ofProject }));
await of(
  "change_project",
  api.PATCH("/v2/projects/{project_id}", { params: { ...ofProject, header: { "If-Match": "*" } }, body: { name: "Web" } }),
);
const stale = await api.PATCH("/v2/projects/{project_id}", {
  params: { ...ofProject, header: { "If-Match": '"0"' } },
  body: { name: "Late" },
});
check(stale.response.status === 412 && stale.error !== undefined && "Message" in stale.error, "412");
await of("replace_project", api.PUT("/v2/projects/{project_id}", { params: ofProject, body: { name: "Shop" } }));

const deployment = await of(
  "create_deployment",
  api.POST("/v2/projects/{project_id}/deployments", { params: ofProject, body: { revision: "4f2a91c" } }),
);
check(deployment.release_stage === "production", "create_deployment");
await of("list_deployments", api.GET("/v2/projects/{project_id}/deployments", { params: ofProject }));
const ofDeployment = { path: { project_id: project.id, deployment_id: deployment.id } };
const deploymentPath = "/v2/projects/{project_id}/deployments/{deployment_id}";
await of("get_deployment", api.GET(deploymentPath, { params: ofDeployment }));
await empty("delete_deployment", 204, api.DELETE(deploymentPath, { params: ofDeployment }));
await empty("delete_project", 204, api.DELETE("/v2/projects/{project_id}", { params: ofProject }));

// API keys --------------------------------------------------------------------------------------------------------------

const issued = await of(
  "create_api_key",
  api.POST("/v2/api-keys", {
    body: {
      name: "TypeScript",
      permission: "read",
      expires_at: "2099-12-31T00:00:00Z",
      access: [{ service: seed.service, paths: ["/reports/*"] }],
    },
  }),
);
check(issued.key?.startsWith("atk_") === true && issued.access?.[0]?.service === seed.service, "create_api_key");
const keys = await of("list_api_keys", api.GET("/v2/api-keys", { params: { query: { q: "TypeScript", state: "active" } } }));
check(keys.results.length === 1, "list_api_keys");
const ofKey = { path: { key_id: issued.id } };
await of("get_api_key", api.GET("/v2/api-keys/{key_id}", { params: ofKey }));
const limited = await of(
  "change_api_key",
  api.PATCH("/v2/api-keys/{key_id}", { params: ofKey, body: { rate_limit: "100/minute" } }),
);
check(limited.rate_limit === "100/minute", "change_api_key");
const successor = await of(
  "rotate_api_key",
  api.POST("/v2/api-keys/{key_id}/rotate", { params: ofKey, body: { overlap: "none" } }),
);
check(successor.rotated_from === issued.id, "rotate_api_key");
const imported = await of(
  "import_api_keys",
  api.POST("/v2/api-keys/import", {
    body: { api_keys: [{ name: "Old", permission: "read", digest: "ab".repeat(32), mask: "old_…f3a9" }] },
  }),
);
check(imported.results[0]?.status === "imported", "import_api_keys");
const revoked = await of("revoke_api_keys", api.POST("/v2/api-keys/revoke", { body: { ids: [successor.id] } }));
check(revoked.results[0]?.status === "revoked", "revoke_api_keys");
await empty("revoke_api_key", 204, api.DELETE("/v2/api-keys/{key_id}", { params: ofKey }));

// Services --------------------------------------------------------------------------------------------------------------

const service = await of("create_service", api.POST("/v2/services", { body: { name: "Reports", gateways: ["10.0.0.7"] } }));
check(service.gateways?.[0] === "10.0.0.7/32", "create_service");
await of("list_services", api.GET("/v2/services", { params: { query: { shared: false } } }));
const ofService = { path: { service_id: service.id } };
await of("get_service", api.GET("/v2/services/{service_id}", { params: ofService }));
await of("change_service", api.PATCH("/v2/services/{service_id}", { params: ofService, body: { preflight: true } }));
await empty("delete_service", 204, api.DELETE("/v2/services/{service_id}", { params: ofService }));

// People ----------------------------------------------------------------------------------------------------------------

const members = await of("list_members", api.GET("/v2/members", { params: { query: { role: "user" } } }));
check(members.results[0]?.id === seed.member, "list_members");
const ofMember = { path: { member_id: seed.member } };
await of("get_member", api.GET("/v2/members/{member_id}", { params: ofMember }));
await of("change_member", api.PATCH("/v2/members/{member_id}", { params: ofMember, body: { role: "admin" } }));
await empty("remove_member", 204, api.DELETE("/v2/members/{member_id}", { params: ofMember }));
const invitation = await of(
  "send_invitation",
  api.POST("/v2/invitations", { body: { email: "typescript@example.com", role: "user" } }),
);
await of("list_invitations", api.GET("/v2/invitations"));
const ofInvitation = { path: { invitation_id: invitation.id } };
await of("get_invitation", api.GET("/v2/invitations/{invitation_id}", { params: ofInvitation }));
await of(
  "change_invitation",
  api.PATCH("/v2/invitations/{invitation_id}", { params: ofInvitation, body: { role: "admin" } }),
);
await empty("withdraw_invitation", 204, api.DELETE("/v2/invitations/{invitation_id}", { params: ofInvitation }));

// Records ---------------------------------------------------------------------------------------------------------------

const events = await of(
  "list_audit_events",
  api.GET("/v2/audit-events", { params: { query: { event: "project.created", limit: 1 } } }),
);
const [event] = events.results;
check(event?.actor.id === seed.key_id, "list_audit_events");
await of("get_audit_event", api.GET("/v2/audit-events/{event_id}", { params: { path: { event_id: event.id } } }));
const usage = await of("list_usage", api.GET("/v2/usage", { params: { query: { service: "api" } } }));
check(usage.results.some((row) => row.requests === 3), "list_usage");
const description = await of("get_openapi", api.GET("/v2/openapi.json"));
check(description.openapi === "3.1.0", "get_openapi");
await of("report_leaked_keys", api.POST("/v2/leaked-keys", { body: { credentials: [seed.leaked_key] } }));

// Authorization requests ------------------------------------------------------------------------------------------------

const ofGuarded = { path: { service: seed.service } };
const allowed = await of(
  "check_request",
  api.POST("/v2/verify/{service}", {
    params: ofGuarded,
    body: { method: "GET", path: "/reports", key: seed.other_key, dry_run: false },
  }),
);
check(allowed.allowed && "api_key" in allowed && allowed.api_key?.name === "Other", "check_request");
const shown = await of(
  "check_api_request",
  api.POST("/v2/verify/api", { body: { method: "GET", path: "/v2/projects", key: seed.other_key, dry_run: true } }),
);
check(shown.allowed && shown.status === 200, "check_api_request");

const forwarded = { "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https" };
const original = { "X-Original-Method": "GET", "X-Original-URI": "/reports" };
const ofForwardAuth = { "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/reports" };
// fetch refuses to send TRACE.
const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;
for (const method of methods) {
  const suffix = method === "GET" ? "" : (`_${method.toLowerCase() as Lowercase<Exclude<typeof method, "GET">>}` as const);
  const byAuthRequest = { params: { ...ofGuarded, header: { ...forwarded, ...original } } };
  const byForwardAuth = { params: { ...ofGuarded, header: { ...forwarded, ...ofForwardAuth } } };
  const byExtAuthz = { params: { path: { service: seed.service, path: "reports" }, header: forwarded } };
  const send = api[method] as typeof api.GET; // the methods have the same types here
  for (const headers of [
    await empty(`authorize_by_auth_request${suffix}`, 200, send("/v2/verify/{service}/auth-request", byAuthRequest)),
    await empty(`authorize_by_forward_auth${suffix}`, 200, send("/v2/verify/{service}/forward-auth", byForwardAuth)),
    await empty(`authorize_by_ext_authz${suffix}`, 200, send("/v2/verify/{service}/ext-authz/{path}", byExtAuthz)),
  ]) {
    check(headers.get("X-Api-Key-Id") === seed.key_id, method);
  }
}

console.log(JSON.stringify(called));
