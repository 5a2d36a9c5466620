// When an action needs a fresh factor, the server answers with a dialog for it;
// after that the action is sent again.
let waiting = null;

document.addEventListener("htmx:before:swap", (e) => {
  const ctx = e.detail.ctx;
  if (ctx?.response?.headers?.get("Holdfast-Step-Up") === "needed" && ctx.request?.action !== "/step-up") {
    waiting = { source: ctx.sourceElement, submitter: ctx.request?.submitter, at: Date.now() };
  }
});

document.addEventListener("htmx:after:request", (e) => {
  if (e.detail.ctx?.response?.headers?.get("Holdfast-Step-Up") === "done") steppedUp();
});

export function steppedUp() {
  document.getElementById("step-up")?.close();
  const w = waiting;
  waiting = null;
  if (!w || Date.now() - w.at > 5 * 60 * 1000 || !w.source.isConnected) {
    if (!w) location.reload();
    return;
  }
  if (w.source instanceof HTMLFormElement) w.source.requestSubmit(w.submitter?.isConnected ? w.submitter : undefined);
  else w.source.click();
}

// ask opens the dialog for a script whose request needs a fresh proof; source is
// clicked again after it.
export function ask(source) {
  waiting = { source, at: Date.now() };
  htmx.ajax("GET", "/step-up", { target: "#dialogs", swap: "beforeend" });
}

// Cancelling forgets the action.
document.addEventListener("close", (e) => {
  if (e.target instanceof Element && e.target.id === "step-up") setTimeout(() => { waiting = null; }, 0);
}, true);
