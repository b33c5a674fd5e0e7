/* What HTML and htmx don't do by themselves. Every page works without this file. */

const dialog = document.getElementById("dialog");
const status = document.getElementById("status");

/** Say what happened, to those who see and to those who listen. */
function tell(text, level = "success") {
  const toast = document.createElement("p");
  toast.className = `toast-x ${level}`;
  toast.textContent = text;
  status.replaceChildren(toast);
}

/* Copy buttons ------------------------------------------------------------- */

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    tell("Copied.");
  } catch {
    // No clipboard without HTTPS or consent: the text is selected, the person copies.
    getSelection().selectAllChildren(source);
    tell("Selected. Press Ctrl+C or ⌘C to copy.", "info");
  }
}

/* A form that must not be sent twice --------------------------------------- */

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("once" in form.dataset) || form.hasAttribute("hx-post")) return;
  if (form.dataset.once === "sent") event.preventDefault();
  form.dataset.once = "sent";
});

// A page that comes back out of the browser's cache may be sent again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("[data-once]")) form.dataset.once = "";
});

/* The new key: it is shown once, so it doesn't go away by accident ----------- */

function unstored() {
  const form = document.querySelector("[data-reveal]");
  return form && !form.checkValidity() ? form : null;
}

addEventListener("beforeunload", (event) => {
  if (unstored()) event.preventDefault();
});

/* Menus and ticks ------------------------------------------------------------ */

function closeMenus(but) {
  for (const menu of document.querySelectorAll("details.menu-x[open], details.switch[open]")) {
    if (menu !== but) menu.open = false;
  }
}

document.addEventListener("click", (event) => {
  const item = event.target.closest(".menu-x a");
  // A dialog gives the focus back to what had it: the menu, and not an item that is hidden again.
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
  if (!event.target.matches("[data-tick-all]")) return;
  for (const box of document.querySelectorAll("#keys .tick [name=id]")) box.checked = event.target.checked;
});

/* The dialog ---------------------------------------------------------------- */

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  if (dialog?.open && event.target.closest("#dialog [data-close]")) {
    event.preventDefault();
    dialog.close();
  }
});

if (dialog) {
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "dialog-content") return;
    // The reveal ends with Done alone; Escape would lose the key.
    dialog.setAttribute("closedby", unstored() ? "none" : "closerequest");
    if (dialog.open) return;
    // What lies outside an open dialog is hidden from screen readers, the status included: it moves along.
    dialog.append(status);
    dialog.showModal();
  });

  dialog.addEventListener("cancel", (event) => {
    if (!unstored()) return;
    event.preventDefault();
    unstored().reportValidity();
  });

  dialog.addEventListener("close", () => {
    document.body.append(status);
    document.getElementById("dialog-content").replaceChildren();
  });
}

/* What htmx could not do ----------------------------------------------------- */

document.addEventListener("htmx:responseError", (event) => {
  const code = event.detail.xhr.status;
  tell(code === 403 ? "You may not do this, or the page is too old. Reload it." : `That didn't work (${code}). Reload the page.`, "error");
});
document.addEventListener("htmx:sendError", () => tell("The server can't be reached.", "error"));
