/* The API reference: one choice of language for all examples, the place in the navigation, and "Try it". Every page
   works without this file. */

function choose(language) {
  const same = `.code-head input[type=radio][value="${CSS.escape(language)}"]`;
  for (const radio of document.querySelectorAll(same)) radio.checked = true;
}

document.addEventListener("change", (event) => {
  if (!event.target.matches(".code-head input[type=radio]")) return;
  choose(event.target.value);
  try {
    localStorage.setItem("language", event.target.value);
  } catch {
    // If the browser can't store it, the choice is only for this page.
  }
});

try {
  choose(localStorage.getItem("language") ?? "curl");
} catch {
  // As above.
}

/* From the search to its first result: the navigation is between them */

document.querySelector("#q").addEventListener("keydown", (event) => {
  const first = document.querySelector("#article .results a");
  if (event.key !== "ArrowDown" || !first) return;
  event.preventDefault();
  first.focus();
});

/* The operation that is being read, in the navigation */

const spy = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const link = document.querySelector(`.toc a[href="#${CSS.escape(target.id)}"]`);
      if (isIntersecting) link?.setAttribute("aria-current", "location");
      else link?.removeAttribute("aria-current");
    }
  },
  { rootMargin: "-30% 0px -69% 0px" },
);
for (const operation of document.querySelectorAll("section.op")) spy.observe(operation);

/* Try it. The key is only in this variable and in the fields for it, and is sent only in the header of a request. */

let key = "";

const boxes = document.querySelectorAll("details.try");
for (const box of boxes) box.hidden = false;

function keyFields() {
  return document.querySelectorAll("[data-key-field]");
}

document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-key-field]")) return;
  key = event.target.value.trim();
  for (const field of keyFields()) if (field !== event.target) field.value = event.target.value;
});

// A page that comes back from the browser's cache has no key either.
addEventListener("pagehide", () => {
  key = "";
  for (const field of keyFields()) field.value = "";
  for (const box of boxes) box.querySelector(".try-answer").replaceChildren();
});

function described(form, method, path) {
  const query = new URLSearchParams();
  const request = { method, headers: {}, credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" };
  let target = path;
  if (form.querySelector("[data-key-field]")) request.headers["X-API-KEY"] = key;
  for (const field of form.querySelectorAll("[data-place]")) {
    const { name, place } = field.dataset;
    const value = field.value.trim();
    if (!value) continue;
    if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(value));
    if (place === "query") query.append(name, value);
    if (place === "header") request.headers[name] = value;
    if (place === "body") {
      request.body = value;
      request.headers["Content-Type"] = "application/json";
    }
  }
  return [query.size ? `${target}?${query}` : target, request];
}

function element(name, properties, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

function shown(text, label) {
  return element("pre", { tabIndex: 0, role: "region", ariaLabel: label }, text);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

document.addEventListener("submit", async (event) => {
  const box = event.target.closest("details.try");
  if (!box) return;
  event.preventDefault();
  const [target, request] = described(event.target, box.dataset.method, box.dataset.path);
  const answer = box.querySelector(".try-answer");
  const button = event.target.querySelector("button");
  button.disabled = true;
  answer.setAttribute("aria-busy", "true");
  try {
    const started = performance.now();
    const response = await fetch(target, request);
    const text = await response.text();
    const took = Math.round(performance.now() - started);
    const level = response.ok ? "ok" : response.status < 500 ? "warn" : "bad";
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const status = element("span", { className: `pill ${level}` }, String(response.status));
    answer.replaceChildren(
      element("p", {}, status, ` ${took} ms`),
      element("details", { className: "ref-more" }, element("summary", {}, "Headers"), shown(headers, "Headers of the response")),
    );
    if (text) answer.append(shown(pretty(text), "Body of the response"));
  } catch {
    answer.replaceChildren(element("p", { className: "harm" }, "No response. Check the header values and your connection."));
  } finally {
    button.disabled = false;
    answer.removeAttribute("aria-busy");
  }
});
