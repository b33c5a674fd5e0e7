// A service in Express behind docs/examples/express_guard.mjs.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const express = createRequire(pathToFileURL(`${process.env.PACKAGES}/`))("express");
const { guard } = await import(process.env.EXAMPLE);

const app = express();
app.set("trust proxy", process.env.PROXIES.split(" ").filter(Boolean));
app.use((request, _response, next) => {
  console.log(request.method, request.originalUrl);
  next();
});
app.use(guard);
app.use((request, response) => {
  response.json({ account: request.account, api_key: request.apiKey.id, path: request.path });
});
app.listen(Number(process.env.PORT), "127.0.0.1");
