// Express: every request needs an API key. Before all routes: app.use(guard)
//
// Needs Node 18 or newer. Behind a proxy, name its address: app.set("trust proxy", ["10.0.0.6"])

const GUARD = process.env.GUARD; // http://10.0.0.5:8000/v2/verify/svc_…
const AWAY = "The API key can't be checked at the moment. Please try again later.";
const PASSED_ON = ["WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy"];

export async function guard(request, response, next) {
  const body = {
    key: request.get("X-API-KEY") || (request.get("Authorization") ?? "").split(" ").at(-1),
    method: request.method,
    path: request.originalUrl.split("?")[0],
    address: request.ip,
  };
  let answer, result;
  try {
    answer = await fetch(GUARD, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(4000),
    });
    result = await answer.json();
  } catch {
    // Handled below.
  }
  // It is missing if this service may not ask.
  if (typeof result?.allowed !== "boolean") {
    return response.status(503).set("Retry-After", "5").json({ Message: AWAY });
  }
  for (const name of PASSED_ON) {
    if (answer.headers.has(name)) response.set(name, answer.headers.get(name));
  }
  if (!result.allowed) return response.status(answer.status).json({ Message: result.Message });
  request.account = result.account.slug;
  request.apiKey = result.api_key;
  next();
}
