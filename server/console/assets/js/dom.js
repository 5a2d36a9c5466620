// on calls handle for events of elements that match, now and later.
export function on(event, selector, handle, options) {
  document.addEventListener(event, (e) => {
    const target = e.target instanceof Element ? e.target.closest(selector) : null;
    if (target) handle(e, target);
  }, options);
}

// each calls handle once for every element that matches, now and after parts of
// the page were replaced.
export function each(selector, handle) {
  const seen = new WeakSet();
  const scan = () => {
    for (const el of document.querySelectorAll(selector)) {
      if (!seen.has(el)) {
        seen.add(el);
        handle(el);
      }
    }
  };
  scan();
  new MutationObserver(scan).observe(document.body, { childList: true, subtree: true });
}

// say puts a note among the toasts, as text.
export function say(text, tone = "bad") {
  const box = document.getElementById("toasts");
  if (!box) return;
  const toast = document.createElement("div");
  toast.className = "toast tone-" + tone;
  toast.dataset.toast = "";
  const p = document.createElement("p");
  p.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "icon-button";
  close.dataset.dismiss = "";
  close.setAttribute("aria-label", "Dismiss");
  close.textContent = "×";
  toast.append(p, close);
  box.append(toast);
}
