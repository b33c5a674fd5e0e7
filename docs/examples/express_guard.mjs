// Express: every request needs an API key. Before all routes: app.use(guard)
//
// Needs Node 18 or newer. Behind a proxy, name its address: app.set("trust proxy", ["10.0.0.6"])

const GUARD = process.env.GUARD; // http://10.0.0.5:8000/v2/verify/svc_…
const AWAY = "The API key can't be checked at the moment. Please try again later.";
const PASSED_ON = ["WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy"];

export async function guard(request, response, next) {
  const question = {
    key: request.get("X-API-KEY") || (request.get("Authorization") ?? "").split(" ").at(-1),
    method: request.method,
    path: request.originalUrl.split("?")[0],
    address: request.ip,
  };
  let answer, found;
  try {
    answer = await fetch(GUARD, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
      signal: AbortSignal.timeout(4000),
    });
    found = await answer.json();
  } catch {
    // As below: there is no answer.
  }
  // An answer without it says that the guard refuses to answer this service.
  if (typeof found?.allowed !== "boolean") {
    return response.status(503).set("Retry-After", "5").json({ Message: AWAY });
  }
  for (const name of PASSED_ON) {
    if (answer.headers.has(name)) response.set(name, answer.headers.get(name));
  }
  if (!found.allowed) return response.status(answer.status).json({ Message: found.Message });
  request.account = found.account.slug;
  request.apiKey = found.api_key;
  next();
}
