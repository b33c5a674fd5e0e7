/* What HTML and htmx don't do by themselves. Every page works without this file. */

const dialog = document.getElementById("dialog");
const status = document.getElementById("status");

function tell(text, level = "success") {
  const toast = document.createElement("p");
  toast.className = `toast-x ${level}`;
  toast.textContent = text;
  status.replaceChildren(toast);
}

// Screen readers announce text that is added to a live region, but not text that it has when the page opens.
const said = [...status.children];
status.replaceChildren();
setTimeout(() => status.append(...said), 150);

status.addEventListener("click", (event) => event.target.closest(".error")?.remove());

/* Times in this browser's time zone */

const { timeZoneCookie } = document.body.dataset;
const zone = `${timeZoneCookie}=${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
if (timeZoneCookie && !document.cookie.split("; ").includes(zone)) {
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API needs HTTPS
  document.cookie = `${zone}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
}


async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    tell("Copied");
  } catch {
    // Without HTTPS or consent there is no clipboard: the text is selected, so that the person can copy it.
    getSelection().selectAllChildren(source);
    tell("Selected. Press Ctrl+C or ⌘C to copy.", "info");
  }
}

/* A form that must not be sent twice */

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("once" in form.dataset) || form.hasAttribute("hx-post")) return;
  if (form.dataset.once === "sent") event.preventDefault();
  form.dataset.once = "sent";
});

// A form on a page that comes back from the browser's cache may be sent again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("[data-once]")) form.dataset.once = "";
});

/* The new key is not closed by accident */

function unstored(where = document) {
  const form = where.querySelector("[data-reveal]");
  return form && !form.checkValidity() ? form : null;
}

addEventListener("beforeunload", (event) => {
  if (unstored()) event.preventDefault();
});

/* Menus and checkboxes */

function closeMenus(but) {
  for (const menu of document.querySelectorAll("details.menu-x[open], details.switch[open]")) {
    if (menu !== but) menu.open = false;
  }
}

document.addEventListener("click", (event) => {
  const item = event.target.closest(".menu-x a");
  // A closed dialog returns the focus to the menu, and not to the menu's item, which is hidden again.
  if (item) item.closest("details").querySelector("summary").focus();
  closeMenus(item ? null : event.target.closest("details"));
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest("details.menu-x[open], details.switch[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-select-all]")) return;
  for (const box of document.querySelectorAll("#keys .select [name=id]")) box.checked = event.target.checked;
});

/* Single keys: the element with this `data-key` gets the focus or is clicked */

document.addEventListener("keydown", (event) => {
  if (!("shortcuts" in document.body.dataset) || dialog?.open || event.repeat) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!target) return;
  event.preventDefault();
  if (target.matches("input")) target.select();
  else target.click();
});


document.addEventListener("keydown", (event) => {
  if (event.key !== "k" || !(event.ctrlKey || event.metaKey) || dialog?.open) return;
  const find = document.querySelector("[data-find]");
  if (!find) return;
  event.preventDefault();
  find.click();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  if (dialog?.open && event.target.closest("#dialog [data-close]")) {
    event.preventDefault();
    dialog.close();
  }
  // Its target may be on this page, behind the dialog.
  if (dialog?.open && event.target.closest("#dialog a[href*='#']")) dialog.close();
});

if (dialog) {
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "dialog-content") return;
    // Only Done closes the page of a new key, because Escape would lose the key.
    dialog.setAttribute("closedby", unstored(dialog) ? "none" : "closerequest");
    if (dialog.open) return;
    // Everything outside an open dialog is hidden from screen readers, so the status region is moved into the dialog.
    dialog.append(status);
    dialog.showModal();
  });

  dialog.addEventListener("cancel", (event) => {
    if (!unstored(dialog)) return;
    event.preventDefault();
    unstored(dialog).reportValidity();
  });

  dialog.addEventListener("close", () => {
    if (dialog.open) return; // The next one came before this was told.
    document.body.append(status);
    document.getElementById("dialog-content").replaceChildren();
  });
}

/* Passkeys */

async function passkey(form) {
  if (form.dataset.options) {
    const response = await fetch(form.dataset.options, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`Options: ${response.status}`);
    return prove((await response.json()).request_options.publicKey);
  }
  const data = JSON.parse(document.getElementById("passkey-options").textContent);
  return data.creation_options ? make(data.creation_options.publicKey, form.elements.passwordless.checked) : prove(data.request_options.publicKey);
}

function prove(options) {
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}

function make(options, alone) {
  Object.assign(options.authenticatorSelection, { residentKey: alone ? "required" : "discouraged", requireResidentKey: alone });
  if (alone) options.authenticatorSelection.userVerification = "required";
  return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
}

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const form of document.querySelectorAll("[data-passkey]")) form.hidden = false;
  for (const text of document.querySelectorAll("[data-no-passkey]")) text.hidden = true;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!("passkey" in form.dataset)) return;
  event.preventDefault();
  try {
    form.elements.credential.value = JSON.stringify(await passkey(form));
  } catch (error) {
    const known = error.name === "InvalidStateError" ? "This passkey was already added." : "No passkey was received. Try again.";
    tell(known, "error");
    return;
  }
  form.submit();
});

/* Busy */

// Requests that the page sends by itself, because nobody waits for them.
function asked(event) {
  return !("quiet" in event.detail.elt.dataset);
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (asked(event)) event.detail.target.setAttribute("aria-busy", "true");
});
document.addEventListener("htmx:afterRequest", (event) => event.detail.target.removeAttribute("aria-busy"));


document.addEventListener("htmx:responseError", (event) => {
  if (!asked(event)) return;
  const code = event.detail.xhr.status;
  tell(code === 403 ? "You don't have access, or the page has expired. Reload the page." : `Something went wrong (${code}). Reload the page.`, "error");
});
document.addEventListener("htmx:sendError", (event) => {
  if (asked(event)) tell("Can't reach the server. Check your connection and try again.", "error");
});
